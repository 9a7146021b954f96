package dev.halfpi

/**
 * How an engine runs. The defaults are right for most apps.
 *
 * @property threads how many threads compute; null is one for each fast core.
 * @property backend the kernels to use, one of [Halfpi.backends]; null is the fastest.
 * @property memoryBudgetBytes the most that the model and its sessions may take: more is refused with
 * [HalfpiException.MemoryBudget] before anything is read, or when a session begins. Null is no limit.
 * @property exact computes with f32 activations: slower, for comparisons.
 * @property prefillChunk the tokens of a prompt that are read at a time. Cancelling waits for one chunk at most.
 * @property adapter a low-rank adapter of the model (LoRA), in a GGUF file of its own; null is the model as it is. A
 * conversation that was saved with it can only be taken up with it.
 */
data class EngineConfig(
    val threads: Int? = null,
    val backend: String? = null,
    val memoryBudgetBytes: Long? = null,
    val exact: Boolean = false,
    val prefillChunk: Int = 128,
    val adapter: ModelSource? = null,
)

/** How hard an engine may work. */
enum class PowerMode {
    /** As fast as it can. */
    Full,

    /** Fewer threads, for a warm device or a low battery. */
    Reduced,

    /** Not at all: answers stand still until another mode is set. They can still be cancelled. */
    Paused,
}

/** How much memory an engine should give back. */
enum class TrimLevel {
    /** What is quickly made again. */
    Moderate,

    /** All that is not in use this moment. */
    Critical,
}

/**
 * The memory that an engine has now, in bytes.
 *
 * @property file the mapped model file.
 * @property weightsHeap weights that were brought into another layout.
 * @property sessions all sessions together when they are full, which is what counts against the budget.
 * @property eachSession the sessions one by one.
 * @property budget [EngineConfig.memoryBudgetBytes].
 * @property resident what the system says the whole process has in memory; null where it does not.
 */
data class MemoryReport(
    val file: Long,
    val weightsHeap: Long,
    val sessions: Long,
    val eachSession: List<SessionReport>,
    val budget: Long?,
    val resident: Long?,
)

/**
 * What a session takes.
 *
 * @property bytes when it is full.
 * @property cachedTokens what it need not read again.
 * @property cachedBytes their keys and values.
 * @property isBusy whether it is in the middle of an answer.
 */
data class SessionReport(val bytes: Long, val cachedTokens: Int, val cachedBytes: Long, val isBusy: Boolean)
