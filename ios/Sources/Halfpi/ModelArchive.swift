import struct Foundation.URL
internal import HalfpiFFI

/// Model files as they are downloaded: made smaller by `halfpi pack --archive`, and restored bit for bit.
public enum ModelArchive {
    /// Restores the model of the file `archive` and puts it at `target`.
    ///
    /// What is at `target` stays until everything is unpacked and every checksum is right, and stays if that fails;
    /// until then the new file grows beside it. Cancelling the task stops it, leaves nothing and throws
    /// ``HalfpiError/cancelled``. One process at a time may unpack to the same target.
    ///
    /// - Parameters:
    ///   - sha256: What the model file must be, in hexadecimal; `nil` for whatever the archive holds.
    ///   - maxBytes: The size that it may have: an archive from a stranger can claim any. `nil` for no limit.
    ///   - progress: Called from another thread with the part that is unpacked, from 0 to 1.
    /// - Throws: ``HalfpiError/archive(path:detail:)`` if the archive is damaged, another model's, or one too large,
    ///   ``HalfpiError/io(path:detail:)`` if a file cannot be read or written.
    @discardableResult
    public static func unpack(
        _ archive: URL,
        to target: URL,
        sha256: String? = nil,
        maxBytes: UInt64? = nil,
        progress: (@Sendable (Double) -> Void)? = nil
    ) async throws(HalfpiError) -> UnpackedModel {
        let unpacked = await reporting(progress) { listener in
            let (archive, target) = (archive.path, target.path)
            return try unpackArchive(
                archive: archive, target: target, sha256: sha256, maxBytes: maxBytes, listener: listener)
        }
        return UnpackedModel(try unpacked.get())
    }
}

/// What an archive held.
public struct UnpackedModel: Sendable, Hashable {
    /// Bytes of the model file.
    public let fileBytes: UInt64
    /// Bytes of the archive.
    public let archiveBytes: UInt64
    /// The SHA-256 of the model file, in lower-case hexadecimal.
    public let sha256: String
}
