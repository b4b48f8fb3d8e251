// Declarations of what the Kotlin sample calls, as LiteRT documents them.
package com.google.ai.edge.litert

import android.content.res.AssetManager
import java.io.Closeable

enum class Accelerator { CPU, GPU }

abstract class TensorBuffer {
    abstract fun writeFloat(values: FloatArray)
    abstract fun readFloat(): FloatArray
}

abstract class CompiledModel : Closeable {
    class Options(vararg accelerators: Accelerator)

    abstract fun createInputBuffers(): List<TensorBuffer>
    abstract fun createOutputBuffers(): List<TensorBuffer>
    abstract fun run(inputs: List<TensorBuffer>, outputs: List<TensorBuffer>)

    companion object {
        fun create(assets: AssetManager, name: String, options: Options): CompiledModel = TODO()
    }
}
