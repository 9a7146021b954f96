package dev.halfpi

import java.io.File

/** Model files as they are downloaded: made smaller by `halfpi pack --archive`, and restored bit for bit. */
object ModelArchive {
    /**
     * Restores the model of [archive] and puts it at [target].
     *
     * What is at [target] stays until everything is unpacked and every checksum is right, and stays if that fails; until
     * then the new file grows beside it. Cancelling the coroutine stops it, and leaves nothing. One process at a time
     * may unpack to the same target.
     *
     * @param sha256 what the model file must be, in hexadecimal; null is whatever the archive holds.
     * @param maxBytes the size that it may have: an archive from a stranger can claim any. Null is no limit.
     * @param onProgress is told how much is done, from 0 to 1, on a background thread. What it throws ends the unpacking
     * and is thrown here.
     * @throws HalfpiException.Archive if the archive is damaged, another model's, or one too large.
     * @throws HalfpiException.Io if a file cannot be read or written.
     */
    suspend fun unpack(
        archive: File,
        target: File,
        sha256: String? = null,
        maxBytes: Long? = null,
        onProgress: (Double) -> Unit = {},
    ): UnpackedModel = opening(
        { context ->
            val most = maxBytes?.unsigned("max_bytes")
            reporting(context, onProgress) { dev.halfpi.ffi.unpackArchive(archive.path, target.path, sha256, most, it) }
        },
        { it.toApi() },
        // What came whole into its place stays there.
        {},
    )
}

/**
 * What an archive held.
 *
 * @property fileBytes the size of the model file.
 * @property archiveBytes the size of the archive.
 * @property sha256 of the model file, in lower-case hexadecimal.
 */
data class UnpackedModel(val fileBytes: Long, val archiveBytes: Long, val sha256: String)
