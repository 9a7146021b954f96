package dev.halfpi

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext
import dev.halfpi.ffi.Engine as FfiEngine

/**
 * A loaded model: heavy, made once, shared by any number of sessions and threads.
 *
 * Answers of all sessions are made one after the other, first come first served. Nothing here blocks the calling
 * thread, except that [close] waits for the token that is being made.
 */
class Engine private constructor(private val ffi: FfiEngine) : AutoCloseable {
    /** What the model file says about itself. */
    val info: ModelInfo by lazy { native { ffi.info().toApi() } }

    /** The kernels in use. */
    val backend: String get() = native { ffi.backend() }

    /** How many threads compute; it can be changed while the engine answers. */
    var threads: Int
        get() = native { ffi.threads().toInt() }
        set(value) = native { ffi.setThreads(value.unsigned("threads")) }

    /** How hard the engine works; it can be changed while it answers. `followDevice` does so on Android. */
    var powerMode: PowerMode
        get() = native { ffi.powerMode().toApi() }
        set(value) = native { ffi.setPowerMode(value.toFfi()) }

    /**
     * A conversation with a memory of its own.
     *
     * @throws HalfpiException.MemoryBudget if its cache does not fit any more.
     */
    suspend fun session(config: SessionConfig = SessionConfig()): Session =
        opening({ ffi.session(config.toFfi()) }, { Session(it) }, { it.shutdown() })

    /** How many tokens [text] is, without a template. */
    suspend fun tokenCount(text: String): Int = withContext(Dispatchers.Default) {
        native { ffi.tokenCount(text).toInt() }
    }

    /** The memory that the engine and its sessions have now. */
    suspend fun memory(): MemoryReport = withContext(Dispatchers.Default) { native { ffi.memory().toApi() } }

    /** Gives memory back. `followDevice` does so on Android when the system asks. */
    suspend fun trim(level: TrimLevel): Unit = withContext(Dispatchers.Default) { native { ffi.trim(level.toFfi()) } }

    /** Cancels what runs and frees the model. All sessions are [HalfpiException.Closed] then. Closing again does nothing. */
    override fun close() {
        ffi.shutdown()
    }

    companion object {
        /**
         * Loads a model. Cancelling the coroutine stops it.
         *
         * @param onProgress is told how much is done, from 0 to 1, on a background thread. What it throws ends the
         * loading and is thrown here.
         * @throws HalfpiException if the model cannot be loaded; nothing of it stays in memory then.
         */
        suspend fun load(
            source: ModelSource,
            config: EngineConfig = EngineConfig(),
            onProgress: (Double) -> Unit = {},
        ): Engine = opening(
            { context -> reporting(context, onProgress) { FfiEngine.load(source.toFfi(), config.toFfi(), it) } },
            { Engine(it) },
            { it.shutdown() },
        )
    }
}
