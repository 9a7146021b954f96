package dev.halfpi

import dev.halfpi.ffi.LoadListener
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.isActive
import kotlinx.coroutines.withContext
import kotlin.coroutines.CoroutineContext

// Work that takes long, and that a cancelled coroutine ends.

/** Makes a native object in the background; if the coroutine is cancelled by then, nobody else will free it. */
internal suspend fun <F : Any, A> opening(
    open: (CoroutineContext) -> F,
    wrap: (F) -> A,
    discard: (F) -> Unit,
): A {
    var opened: F? = null
    try {
        withContext(Dispatchers.IO) { native { opened = open(coroutineContext) } }
    } catch (e: CancellationException) {
        opened?.let(discard)
        throw e
    } catch (e: HalfpiException.Cancelled) {
        // That was us, because the coroutine is cancelled.
        currentCoroutineContext().ensureActive()
        throw e
    }
    return wrap(checkNotNull(opened))
}

/** Calls the library with a listener that tells the app and asks the coroutine whether to go on. */
internal fun <T> reporting(context: CoroutineContext, tell: (Double) -> Unit, work: (LoadListener) -> T): T {
    val listener = Progress(context, tell)
    try {
        return work(listener)
    } catch (e: dev.halfpi.ffi.HalfpiException) {
        throw listener.thrown ?: e
    }
}

private class Progress(private val context: CoroutineContext, private val tell: (Double) -> Unit) : LoadListener {
    /** What the app's callback threw: it goes around the native library. */
    var thrown: Throwable? = null
        private set

    override fun onProgress(fraction: Double): Boolean {
        if (thrown == null) runCatching { tell(fraction) }.onFailure { thrown = it }
        return thrown == null && context.isActive
    }
}
