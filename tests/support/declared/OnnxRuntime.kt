// Declarations of what the Kotlin sample calls, as onnxruntime documents them.
package ai.onnxruntime

import java.io.Closeable
import java.nio.FloatBuffer

interface OnnxValue : Closeable

abstract class OnnxTensor : OnnxValue {
    abstract val floatBuffer: FloatBuffer

    companion object {
        fun createTensor(environment: OrtEnvironment, values: FloatBuffer, shape: LongArray): OnnxTensor = TODO()
    }
}

class OrtEnvironment {
    fun createSession(path: String, options: OrtSession.SessionOptions): OrtSession = TODO()

    companion object {
        fun getEnvironment(): OrtEnvironment = TODO()
    }
}

abstract class OrtSession : Closeable {
    abstract class Result : Closeable {
        abstract operator fun get(index: Int): OnnxValue
    }

    class SessionOptions : Closeable {
        fun setIntraOpNumThreads(threads: Int): Unit = TODO()
        fun addConfigEntry(key: String, value: String): Unit = TODO()
        fun addQnn(options: Map<String, String>): Unit = TODO()
        override fun close(): Unit = TODO()
    }

    fun run(inputs: Map<String, OnnxTensor>): Result = TODO()
}
