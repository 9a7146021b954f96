package dev.halfpi

import com.sun.net.httpserver.HttpExchange
import com.sun.net.httpserver.HttpServer
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.job
import kotlinx.coroutines.launch
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File
import java.io.IOException
import java.net.InetAddress
import java.net.InetSocketAddress
import java.net.URL
import java.nio.file.Path
import java.util.concurrent.CopyOnWriteArrayList
import kotlin.random.Random

class ModelDownloaderTest {
    @TempDir
    lateinit var directory: Path

    private val content = Random(1).nextBytes(1_000_000)
    private val sha256 = content.sha256()
    private val model = TestModels.original.readBytes()
    private val archive = TestModels.archive.readBytes()
    private val ranges = CopyOnWriteArrayList<String>()
    private var server: HttpServer? = null
    private val downloader = ModelDownloader(attempts = 3, firstRetryMillis = 1)

    @AfterEach
    fun stop() {
        server?.stop(0)
    }

    @Test
    fun `a connection that breaks again and again loses nothing`() = blocking {
        val told = mutableListOf<Long>()
        val url = serve { it.send(content, breakAfter = 130_000) }
        val file = downloader.download(url, target(), sha256) { received, size ->
            told += received
            assertEquals(content.size.toLong(), size)
        }
        assertArrayEquals(content, file.readBytes())
        assertTrue(ranges.size > 5, "$ranges")
        assertEquals(told.sorted(), told)
        assertEquals(content.size.toLong(), told.last())
        assertFalse(part().exists())
    }

    @Test
    fun `the guide's download ends with the file`() = blocking {
        val file = dev.halfpi.guide.download(directory.toFile(), serve { it.send(content) }, sha256)
        assertArrayEquals(content, file.readBytes())
    }

    @Test
    fun `a cancelled download goes on where it was`() = blocking {
        val url = serve { it.send(content) }
        launch(Dispatchers.Default) {
            val self = coroutineContext.job
            downloader.download(url, target(), sha256) { received, _ -> if (received > 200_000) self.cancel() }
        }.join()
        val kept = part().length()
        assertTrue(kept in 200_001 until content.size, "$kept")
        assertFalse(target().exists())
        downloader.download(url, target(), sha256)
        assertEquals("bytes=$kept-", ranges.last())
        assertArrayEquals(content, target().readBytes())
    }

    @Test
    fun `a server without ranges sends all again`() = blocking {
        part().writeBytes(ByteArray(1000) { 7 })
        val url = serve { it.send(content, honoursRanges = false) }
        assertArrayEquals(content, downloader.download(url, target(), sha256).readBytes())
    }

    @Test
    fun `a wrong file never gets its name, and the next try starts anew`() = blocking {
        target().writeText("the old model")
        var isWrong = true
        val url = serve { it.send(if (isWrong) content.reversedArray() else content) }
        val error = assertThrows<HalfpiException.Io> { blocking { downloader.download(url, target(), sha256) } }
        assertTrue(sha256 in error.message.orEmpty(), error.message)
        assertEquals("the old model", target().readText())
        isWrong = false
        assertArrayEquals(content, downloader.download(url, target(), sha256.uppercase()).readBytes())
    }

    @Test
    fun `a file that is there is not fetched again`() = blocking {
        target().writeBytes(content)
        downloader.download(serve { it.send(content) }, target(), sha256)
        assertEquals(0, ranges.size)
    }

    @Test
    fun `an archive ends as the model`() = blocking {
        val (received, unpacked) = mutableListOf<Long>() to mutableListOf<Double>()
        val url = serve { it.send(archive, breakAfter = 50_000) }
        val file = downloader.downloadArchive(
            url,
            target(),
            archiveSha256 = archive.sha256(),
            sha256 = model.sha256(),
            onProgress = { bytes, size ->
                received += bytes
                assertEquals(archive.size.toLong(), size)
                assertEquals(emptyList<Double>(), unpacked)
            },
            onUnpack = { unpacked += it },
        )
        assertEquals(target(), file)
        assertArrayEquals(model, file.readBytes())
        assertEquals(listOf("model.gguf"), files())
        assertEquals(2, ranges.size)
        assertEquals(archive.size.toLong(), received.last())
        assertEquals(listOf(0.0, 1.0), listOf(unpacked.first(), unpacked.last()))
    }

    @Test
    fun `the guide's archive ends as the model`() = blocking {
        val url = serve { it.send(archive) }
        val file = dev.halfpi.guide.downloadArchive(directory.toFile(), url, archive.sha256(), model.sha256())
        assertArrayEquals(model, file.readBytes())
    }

    @Test
    fun `a model that is there is not fetched as an archive`() = blocking {
        target().writeBytes(model)
        archived().writeText("left by a try that was ended just before it deleted this")
        fetchArchive()
        assertEquals(0, ranges.size)
        assertEquals(listOf("model.gguf"), files())
    }

    @Test
    fun `an archive that is there is unpacked without being fetched again`() = blocking {
        launch(Dispatchers.Default) {
            val self = coroutineContext.job
            fetchArchive { if (it > 0.3) self.cancel() }
        }.join()
        assertEquals(listOf("model.gguf.hpar"), files())
        assertEquals(1, ranges.size)
        fetchArchive()
        assertEquals(1, ranges.size)
        assertArrayEquals(model, target().readBytes())
        assertEquals(listOf("model.gguf"), files())
    }

    @Test
    fun `a wrong archive and one of another model change nothing`() = blocking {
        target().writeText("the old model")
        val url = serve { it.send(archive) }
        val swapped = assertThrows<HalfpiException.Io> {
            blocking { downloader.downloadArchive(url, target(), model.sha256(), model.sha256()) }
        }
        assertTrue(archive.sha256() in swapped.detail, swapped.detail)
        val other = assertThrows<HalfpiException.Archive> {
            blocking { downloader.downloadArchive(url, target(), archive.sha256(), sha256) }
        }
        assertTrue(model.sha256() in other.detail, other.detail)
        assertEquals(listOf("model.gguf"), files())
        assertEquals("the old model", target().readText())
        for ((name, archiveSha256, modelSha256) in listOf(
            Triple("archiveSha256", "", sha256),
            Triple("sha256", sha256, "ab"),
        )) {
            val error = assertThrows<HalfpiException.InvalidOption> {
                blocking { downloader.downloadArchive(url, target(), archiveSha256, modelSha256) }
            }
            assertEquals(name, error.option)
        }
    }

    @Test
    fun `refusals are errors and some are tried again`() {
        var requests = 0
        fun refused(status: Int, times: Int) {
            requests = 0
            val url = serve {
                requests++
                it.sendResponseHeaders(status, -1)
            }
            val error = assertThrows<HalfpiException.Io> { blocking { downloader.download(url, target(), sha256) } }
            assertTrue("$status" in error.detail, error.detail)
            assertEquals(times, requests)
            stop()
        }
        refused(404, times = 1)
        refused(503, times = 3)
        assertThrows<HalfpiException.InvalidOption> {
            blocking { downloader.download(URL("http://127.0.0.1:1/m"), target(), "") }
        }
        assertThrows<HalfpiException.Io> {
            blocking { downloader.download(URL("http://127.0.0.1:1/m"), target(), sha256) }
        }
    }

    private fun target(): File = directory.resolve("model.gguf").toFile()

    private fun archived(): File = directory.resolve("model.gguf.hpar").toFile()

    private fun files(): List<String> = directory.toFile().list().orEmpty().sorted()

    private suspend fun fetchArchive(onUnpack: (Double) -> Unit = {}) {
        val url = serve { it.send(archive) }
        try {
            downloader.downloadArchive(url, target(), archive.sha256(), model.sha256(), onUnpack = onUnpack)
        } finally {
            stop()
        }
    }

    private fun part(): File = directory.resolve("model.gguf.part").toFile()

    private fun serve(answer: (HttpExchange) -> Unit): URL {
        val server = HttpServer.create(InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0)
        server.createContext("/model.gguf") { exchange ->
            // A closed exchange is how a connection breaks here.
            try {
                answer(exchange)
            } catch (_: IOException) {
            } finally {
                exchange.close()
            }
        }
        server.start()
        this.server = server
        return URL("http://127.0.0.1:${server.address.port}/model.gguf")
    }

    private fun HttpExchange.send(
        bytes: ByteArray,
        breakAfter: Int = Int.MAX_VALUE,
        honoursRanges: Boolean = true,
    ) {
        val range = requestHeaders.getFirst("Range")
        ranges += range ?: "all"
        val start = if (honoursRanges && range != null) range.removePrefix("bytes=").removeSuffix("-").toInt() else 0
        if (start > 0) responseHeaders.add("Content-Range", "bytes $start-${bytes.size - 1}/${bytes.size}")
        sendResponseHeaders(if (start > 0) 206 else 200, (bytes.size - start).toLong())
        val end = minOf(bytes.size.toLong(), start.toLong() + breakAfter).toInt()
        for (at in start until end step 8192) {
            responseBody.write(bytes, at, minOf(8192, end - at))
            responseBody.flush()
        }
    }
}
