package dev.halfpi.android

import android.content.Context
import android.content.res.AssetFileDescriptor
import android.net.Uri
import dev.halfpi.Engine
import dev.halfpi.EngineConfig
import dev.halfpi.HalfpiException
import dev.halfpi.ModelSource
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext
import java.io.FileNotFoundException

/**
 * Loads a model from the app's assets, mapped where it lies in the APK.
 *
 * The APK must hold it as it is: `android { androidResources { noCompress += "gguf" } }`.
 */
suspend fun Engine.Companion.loadAsset(
    context: Context,
    name: String,
    config: EngineConfig = EngineConfig(),
    onProgress: (Double) -> Unit = {},
): Engine = opened("assets/$name", "is it there, and is gguf in noCompress?") { context.assets.openFd(name) }
    .use { load(it.modelSource(), config, onProgress) }

/** Loads a model that the user has picked (Storage Access Framework), mapped where its provider has it. */
suspend fun Engine.Companion.loadUri(
    context: Context,
    uri: Uri,
    config: EngineConfig = EngineConfig(),
    onProgress: (Double) -> Unit = {},
): Engine = opened(uri.toString(), "its provider gives no file") {
    context.contentResolver.openAssetFileDescriptor(uri, "r") ?: throw FileNotFoundException("the provider has crashed")
}.use { load(it.modelSource(), config, onProgress) }

/** The part of an open file that this describes. Close it when the model is loaded. */
fun AssetFileDescriptor.modelSource(): ModelSource = ModelSource.descriptor(
    fileDescriptor,
    startOffset,
    declaredLength.takeIf { it != AssetFileDescriptor.UNKNOWN_LENGTH },
)

private suspend fun opened(path: String, hint: String, open: () -> AssetFileDescriptor): AssetFileDescriptor =
    withContext(Dispatchers.IO) {
        try {
            open()
        } catch (e: FileNotFoundException) {
            throw HalfpiException.Io(path, "${e.message} ($hint)", e)
        } catch (e: SecurityException) {
            throw HalfpiException.Io(path, "${e.message}", e)
        }
    }
