// Declarations of what the C++ sample calls, as onnxruntime documents them. Nothing is defined: a compiler checks the
// sample against them where no release of onnxruntime is at hand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

enum OrtLoggingLevel { ORT_LOGGING_LEVEL_WARNING };
enum OrtAllocatorType { OrtArenaAllocator };
enum OrtMemType { OrtMemTypeDefault };
enum ONNXTensorElementDataType { ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 };
struct OrtMemoryInfo;

namespace Ort {
struct Env {
  Env(OrtLoggingLevel level, const char* name);
};
struct SessionOptions {
  SessionOptions();
  SessionOptions& SetIntraOpNumThreads(int threads);
};
struct RunOptions {
  explicit RunOptions(std::nullptr_t);
};
struct MemoryInfo {
  static MemoryInfo CreateCpu(OrtAllocatorType type, OrtMemType memory);
  operator const OrtMemoryInfo*() const;
};
struct Value {
  Value(Value&&);
  static Value CreateTensor(const OrtMemoryInfo* info, void* data, size_t bytes, const int64_t* shape, size_t rank,
                            ONNXTensorElementDataType type);
  void* GetTensorMutableRawData();
};
struct Session {
  Session(const Env& environment, const char* path, const SessionOptions& options);
  std::vector<Value> Run(const RunOptions& options, const char* const* inputs, const Value* values, size_t count,
                         const char* const* outputs, size_t made);
};
}  // namespace Ort
