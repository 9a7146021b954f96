package dev.halfpi

/**
 * How an engine runs. The defaults are right for most apps.
 *
 * @property threads how many threads compute; null is one for each fast core.
 * @property backend the kernels to use, one of [Halfpi.backends]; null is the fastest.
 * @property exact computes with f32 activations: slower, for comparisons.
 * @property prefillChunk the tokens of a prompt that are read at a time. Cancelling waits for one chunk at most.
 */
data class EngineConfig(
    val threads: Int? = null,
    val backend: String? = null,
    val exact: Boolean = false,
    val prefillChunk: Int = 128,
)
