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
import java.security.MessageDigest
import java.util.concurrent.CopyOnWriteArrayList
import kotlin.random.Random

class ModelDownloaderTest {
    @TempDir
    lateinit var directory: Path

    private val content = Random(1).nextBytes(1_000_000)
    private val sha256 = MessageDigest.getInstance("SHA-256").digest(content).joinToString("") { "%02x".format(it) }
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
