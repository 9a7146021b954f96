package dev.halfpi

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.delay
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.withContext
import java.io.File
import java.io.FileInputStream
import java.io.FileOutputStream
import java.io.IOException
import java.io.InputStream
import java.net.HttpURLConnection
import java.net.URL
import java.nio.file.Files
import java.nio.file.StandardCopyOption
import java.security.MessageDigest
import kotlin.coroutines.coroutineContext

/**
 * Fetches model files, which are large, over connections that break.
 *
 * What has arrived is kept beside the target as `NAME.part`, and the next try, or the app's next start, goes on from
 * there. A file appears under its own name only when it is complete and has the expected checksum.
 *
 * @property attempts how often in a row a connection may bring nothing before the download fails.
 * @property firstRetryMillis the wait before the second try; it doubles with every further one.
 * @property connect opens the connection; for apps that need headers or a proxy.
 */
class ModelDownloader(
    private val attempts: Int = 5,
    private val firstRetryMillis: Long = 500,
    private val connect: (URL) -> HttpURLConnection = { it.openConnection() as HttpURLConnection },
) {
    /**
     * Downloads [url] to [target], unless a file with this checksum is there.
     *
     * Run it in a worker or a service that may live while the app is in the background. Cancelling the coroutine keeps
     * what has arrived.
     *
     * @param sha256 what the file must be, in hexadecimal.
     * @param onProgress is told the bytes that are there and the size, -1 if unknown, on a background thread.
     * @throws HalfpiException.Io if the server does not give the file, or another one than expected.
     */
    suspend fun download(
        url: URL,
        target: File,
        sha256: String,
        onProgress: (received: Long, size: Long) -> Unit = { _, _ -> },
    ): File = withContext(Dispatchers.IO) {
        requireChecksum("sha256", sha256)
        if (isThere(target, sha256)) return@withContext target
        val part = File(target.path + ".part")
        target.absoluteFile.parentFile?.mkdirs()
        fetch(url, part, onProgress)
        val found = checksum(part)
        if (!found.equals(sha256, ignoreCase = true)) {
            // Going on from a wrong file would never end well.
            part.delete()
            throw HalfpiException.Io(url.toString(), "the SHA-256 is $found, not $sha256; the next try starts anew")
        }
        Files.move(part.toPath(), target.toPath(), StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING)
        target
    }

    /**
     * Downloads the archive [url] and unpacks it to [target], unless a file with the model's checksum is there.
     *
     * The archive is kept beside the target as `NAME.hpar` until it is unpacked, so there must be room for both. It comes
     * as any [download] does. Cancelling the coroutine keeps what has arrived, and so does a full disk: the next try
     * unpacks what is there. An archive that does not hold the model is deleted.
     *
     * @param archiveSha256 what the archive must be, in hexadecimal.
     * @param sha256 what the model file must be, as `halfpi unpack` prints it: that is how a model that is there is known.
     * @param onProgress is told the bytes of the archive that are there and its size, -1 if unknown, on a background
     * thread.
     * @param onUnpack is told after that how much is unpacked, from 0 to 1, on a background thread.
     * @throws HalfpiException.Io if the server does not give the archive, or the disk is full.
     * @throws HalfpiException.Archive if that is an archive of another model, or none.
     */
    suspend fun downloadArchive(
        url: URL,
        target: File,
        archiveSha256: String,
        sha256: String,
        onProgress: (received: Long, size: Long) -> Unit = { _, _ -> },
        onUnpack: (Double) -> Unit = {},
    ): File = withContext(Dispatchers.IO) {
        requireChecksum("archiveSha256", archiveSha256)
        requireChecksum("sha256", sha256)
        val archive = File(target.path + ".hpar")
        if (!isThere(target, sha256)) {
            download(url, archive, archiveSha256, onProgress)
            try {
                ModelArchive.unpack(archive, target, sha256, onProgress = onUnpack)
            } catch (e: HalfpiException.Archive) {
                // It is what was asked for, so another try would end the same way.
                archive.delete()
                throw e
            }
        }
        // Also what is left of an earlier try that was ended at the last moment.
        archive.delete()
        File(archive.path + ".part").delete()
        target
    }

    /** Brings [part] to its full length. */
    private suspend fun fetch(url: URL, part: File, onProgress: (Long, Long) -> Unit) {
        var failures = 0
        while (true) {
            val before = part.length()
            try {
                if (fetchOnce(url, part, onProgress)) return
                failures = if (part.length() > before) 0 else failures + 1
                if (failures >= attempts) throw HalfpiException.Io(url.toString(), "the connection breaks again and again")
            } catch (e: IOException) {
                failures = if (part.length() > before) 1 else failures + 1
                if (failures >= attempts) throw HalfpiException.Io(url.toString(), e.message ?: e.toString(), e)
            }
            delay(firstRetryMillis shl (failures - 1).coerceIn(0, MAX_DOUBLINGS))
        }
    }

    /** One connection; whether the file is complete after it. */
    private suspend fun fetchOnce(url: URL, part: File, onProgress: (Long, Long) -> Unit): Boolean {
        val have = part.length()
        val connection = connect(url)
        connection.connectTimeout = TIMEOUT_MILLIS
        connection.readTimeout = TIMEOUT_MILLIS
        // Compressed on the way, ranges would be those of something else.
        connection.setRequestProperty("Accept-Encoding", "identity")
        if (have > 0) connection.setRequestProperty("Range", "bytes=$have-")
        try {
            val code = connection.responseCode
            if (code == RANGE_NOT_SATISFIABLE && have > 0) {
                // Complete, or longer than the file is now: the checksum tells.
                return true
            }
            val resumed = code == HttpURLConnection.HTTP_PARTIAL && starts(connection, have)
            if (!resumed && code != HttpURLConnection.HTTP_OK) refuse(url, code)
            val start = if (resumed) have else 0
            val length = connection.contentLengthLong
            val size = if (length < 0) -1 else start + length
            FileOutputStream(part, resumed).use { out ->
                connection.inputStream.use { copy(it, out, start, size, onProgress) }
            }
            return size < 0 || part.length() == size
        } finally {
            connection.disconnect()
        }
    }

    private fun starts(connection: HttpURLConnection, at: Long): Boolean =
        connection.getHeaderField("Content-Range")?.startsWith("bytes $at-") == true

    /** Codes that another try may not meet again are worth one. */
    private fun refuse(url: URL, code: Int): Nothing {
        val message = "the server answers with status $code"
        if (code >= 500 || code == TOO_MANY_REQUESTS) throw IOException(message)
        throw HalfpiException.Io(url.toString(), message)
    }

    private suspend fun copy(
        from: InputStream,
        to: FileOutputStream,
        start: Long,
        size: Long,
        onProgress: (Long, Long) -> Unit,
    ) {
        val buffer = ByteArray(BUFFER)
        var received = start
        while (true) {
            coroutineContext.ensureActive()
            val count = from.read(buffer)
            if (count < 0) break
            to.write(buffer, 0, count)
            received += count
            onProgress(received, size)
        }
        to.fd.sync()
    }

    private fun requireChecksum(name: String, value: String) {
        if (!CHECKSUM.matches(value)) throw HalfpiException.InvalidOption(name, "not 64 hexadecimal digits")
    }

    private suspend fun isThere(file: File, sha256: String): Boolean =
        file.exists() && checksum(file).equals(sha256, ignoreCase = true)

    private suspend fun checksum(file: File): String {
        val digest = MessageDigest.getInstance("SHA-256")
        FileInputStream(file).use {
            val buffer = ByteArray(BUFFER)
            while (true) {
                coroutineContext.ensureActive()
                val count = it.read(buffer)
                if (count < 0) break
                digest.update(buffer, 0, count)
            }
        }
        return digest.digest().joinToString("") { "%02x".format(it) }
    }

    private companion object {
        val CHECKSUM = Regex("[0-9a-fA-F]{64}")
        const val BUFFER = 1 shl 16
        const val TIMEOUT_MILLIS = 30_000
        const val MAX_DOUBLINGS = 6
        const val RANGE_NOT_SATISFIABLE = 416
        const val TOO_MANY_REQUESTS = 429
    }
}
