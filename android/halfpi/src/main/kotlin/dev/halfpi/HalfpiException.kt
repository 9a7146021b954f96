package dev.halfpi

/** Whatever can go wrong, as a closed set: `when` over it needs no `else`. The engine is usable after every one. */
sealed class HalfpiException(message: String, cause: Throwable? = null) : Exception(message, cause) {
    /** A file cannot be opened, read or written. */
    class Io(val path: String, val detail: String, cause: Throwable? = null) :
        HalfpiException("$path: $detail", cause)

    /** The file is damaged or no model. */
    class ModelFile(val path: String, val detail: String) : HalfpiException("$path: $detail")

    /** The file is no archive, a damaged one, or that of another or a larger model than expected. Nothing was written. */
    class Archive(val path: String, val detail: String) : HalfpiException("$path: $detail")

    /** The model is fine, but this library cannot do what it or the request asks for. */
    class Unsupported(val detail: String) : HalfpiException(detail)

    /** These kernels do not exist, or this processor cannot run them. */
    class Backend(val name: String, val available: List<String>) :
        HalfpiException("no backend $name here; there are ${available.joinToString()}")

    /** The model or the session needs more than [EngineConfig.memoryBudgetBytes]. */
    class MemoryBudget(val neededBytes: Long, val budgetBytes: Long, val detail: String) : HalfpiException(detail)

    /** The system refused memory. */
    class OutOfMemory(val bytes: Long, val detail: String) : HalfpiException("no memory for $bytes bytes: $detail")

    /** The conversation is longer than the context. */
    class ContextOverflow(val needed: Int, val contextLength: Int) :
        HalfpiException("$needed tokens do not fit in a context of $contextLength")

    /** An option has a value that makes no sense. */
    class InvalidOption(val option: String, val detail: String) : HalfpiException("$option: $detail")

    /** The JSON schema cannot be used, or nothing satisfies it. */
    class Schema(val detail: String) : HalfpiException(detail)

    /** The model's chat template failed on this conversation. */
    class Template(val detail: String) : HalfpiException(detail)

    /** The file is no state of a session, is cut short, or belongs to another model. The session is as it was. */
    class SavedState(val path: String, val detail: String) : HalfpiException("$path: $detail")

    /** The session is answering already. Wait, cancel, or take a second session. */
    class SessionBusy : HalfpiException("the session is answering already")

    /** The engine or the session is closed. */
    class Closed : HalfpiException("closed")

    /** Somebody cancelled it who is not the coroutine that waits for it. */
    class Cancelled : HalfpiException("cancelled")

    /** A callback of the app failed. */
    class Callback(val detail: String) : HalfpiException(detail)

    /** A bug in this library; please report it. */
    class Internal(val detail: String) : HalfpiException(detail)
}
