package dev.halfpi.android

import android.content.ContentProvider
import android.content.ContentValues
import android.content.Context
import android.content.res.AssetFileDescriptor
import android.content.res.AssetManager
import android.net.Uri
import android.os.ParcelFileDescriptor
import dev.halfpi.Engine
import dev.halfpi.HalfpiException
import dev.halfpi.ModelSource
import dev.halfpi.TestModels
import dev.halfpi.blocking
import dev.halfpi.tokens
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import java.io.File
import java.io.FileNotFoundException
import java.io.RandomAccessFile
import java.util.zip.CRC32
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream

/** Models out of assets and from other apps, through Android's own descriptors. */
@RunWith(RobolectricTestRunner::class)
class LoadingTest {
    @get:Rule
    val directory = TemporaryFolder()
    private val context: Context get() = RuntimeEnvironment.getApplication()

    @Test
    fun `a part of an open file is loaded where it lies`() = blocking {
        val offset = 4097L
        val file = container(offset)
        val descriptor = ParcelFileDescriptor.open(file, ParcelFileDescriptor.MODE_READ_ONLY)
        val engine = AssetFileDescriptor(descriptor, offset, TestModels.tiny.length()).use { Engine.load(it.modelSource()) }
        engine.use { assertEquals(expected(), it.session().respond("Hi", tokens(8)).text) }
    }

    @Test
    fun `an asset is loaded where it lies in the package`() = blocking {
        val apk = packaged("model.gguf", TestModels.tiny)
        // What the system does with an app's own package.
        AssetManager::class.java.getMethod("addAssetPath", String::class.java).invoke(context.assets, apk.path)
        context.assets.openFd("model.gguf").use {
            assertTrue("${it.startOffset}", it.startOffset > 0)
            assertEquals(TestModels.tiny.length(), it.length)
        }
        dev.halfpi.guide.assets(context).use { assertEquals(expected(), it.session().respond("Hi", tokens(8)).text) }
    }

    @Test
    fun `a document of another app is loaded`() = blocking {
        Robolectric.buildContentProvider(Documents::class.java).create("dev.halfpi.documents")
        Documents.file = TestModels.tiny
        val uri = Uri.parse("content://dev.halfpi.documents/model")
        dev.halfpi.guide.document(context, uri).use { assertEquals(expected(), it.session().respond("Hi", tokens(8)).text) }
        Documents.file = File("/nowhere")
        val error = assertThrows(HalfpiException.Io::class.java) { blocking { Engine.loadUri(context, uri) } }
        assertEquals(uri.toString(), error.path)
    }

    @Test
    fun `an asset that is missing or compressed says what to do`() {
        val error = assertThrows(HalfpiException.Io::class.java) { blocking { Engine.loadAsset(context, "no.gguf") } }
        assertTrue(error.detail, "noCompress" in error.detail)
    }

    /** The model with other things before and after it, as in an APK. */
    private fun container(offset: Long): File = directory.newFile().also { file ->
        RandomAccessFile(file, "rw").use {
            it.seek(offset)
            it.write(TestModels.tiny.readBytes())
            it.write(ByteArray(999))
        }
    }

    /** An app's package with an asset that is not compressed. */
    private fun packaged(name: String, asset: File): File = directory.newFile("app.apk").also { file ->
        val bytes = asset.readBytes()
        ZipOutputStream(file.outputStream()).use { zip ->
            zip.setMethod(ZipOutputStream.STORED)
            zip.putNextEntry(
                ZipEntry("assets/$name").apply {
                    size = bytes.size.toLong()
                    crc = CRC32().apply { update(bytes) }.value
                },
            )
            zip.write(bytes)
        }
    }

    private suspend fun expected(): String =
        Engine.load(ModelSource.file(TestModels.tiny)).use { it.session().respond("Hi", tokens(8)).text }

    /** Another app. */
    class Documents : ContentProvider() {
        override fun onCreate() = true

        override fun openFile(uri: Uri, mode: String): ParcelFileDescriptor {
            if (!file.exists()) throw FileNotFoundException("$file")
            return ParcelFileDescriptor.open(file, ParcelFileDescriptor.MODE_READ_ONLY)
        }

        override fun query(u: Uri, p: Array<String>?, s: String?, a: Array<String>?, o: String?) = null

        override fun getType(uri: Uri) = null

        override fun insert(uri: Uri, values: ContentValues?) = null

        override fun delete(uri: Uri, selection: String?, arguments: Array<String>?) = 0

        override fun update(uri: Uri, values: ContentValues?, selection: String?, arguments: Array<String>?) = 0

        companion object {
            lateinit var file: File
        }
    }
}
