import Foundation
internal import HalfpiFFI

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// Fetches model files, which are large, over connections that break.
///
/// What has arrived is kept beside the target as `NAME.part`, and the next try, or the app's next start, goes on from
/// there. A file appears under its own name only when it is complete and has the expected checksum.
public struct ModelDownloader: Sendable {
    /// How often in a row a connection may bring nothing before the download fails.
    public var attempts: Int
    /// The wait before the second try; it doubles with every further one.
    public var firstRetry: Duration
    /// Headers of the request besides its own, for servers that want to know who asks.
    public var headers: [String: String]

    public init(attempts: Int = 5, firstRetry: Duration = .milliseconds(500), headers: [String: String] = [:]) {
        self.attempts = attempts
        self.firstRetry = firstRetry
        self.headers = headers
    }

    /// Downloads `url` to the file `target`, unless a file with this checksum is there.
    ///
    /// Cancelling the task keeps what has arrived and throws ``HalfpiError/cancelled``.
    ///
    /// - Parameters:
    ///   - sha256: What the file must be, in hexadecimal.
    ///   - progress: Called from another thread with the bytes that are there and the size, `nil` if unknown.
    /// - Throws: ``HalfpiError/io(path:detail:)`` if the server does not give the file, or another one than expected.
    @discardableResult
    public func download(
        _ url: URL,
        to target: URL,
        sha256: String,
        progress: (@Sendable (_ received: Int64, _ size: Int64?) -> Void)? = nil
    ) async throws(HalfpiError) -> URL {
        let expected = try hexadecimal("sha256", sha256)
        if try await isThere(target, expected) { return target }

        let part = target.appendingPathExtension("part")
        try await fetch(url, to: part, progress: progress)
        let found = try await checksum(part)
        guard found == expected else {
            // Going on from a wrong file would never end well.
            try? FileManager.default.removeItem(at: part)
            throw .io(path: url.absoluteString, detail: "the SHA-256 is \(found), not \(expected); the next try starts anew")
        }
        // Atomic, and in the place of an older file.
        guard rename(part.path, target.path) == 0 else {
            throw .io(path: target.path, detail: String(cString: strerror(errno)))
        }
        return target
    }

    /// Downloads the archive `url` and unpacks it to the file `target`, unless a file with the model's checksum is there.
    ///
    /// The archive is kept beside the target as `NAME.hpar` until it is unpacked, so there must be room for both. It
    /// comes as any ``download(_:to:sha256:progress:)`` does. Cancelling the task keeps what has arrived, and so does a
    /// full disk: the next try unpacks what is there. An archive that does not hold the model is deleted.
    ///
    /// - Parameters:
    ///   - archiveSHA256: What the archive must be, in hexadecimal.
    ///   - sha256: What the model file must be, as `halfpi unpack` prints it: that is how a model that is there is known.
    ///   - progress: Called from another thread with the bytes of the archive that are there and its size, `nil` if
    ///     unknown.
    ///   - unpacking: Called after that, from another thread, with the part that is unpacked, from 0 to 1.
    /// - Throws: ``HalfpiError/io(path:detail:)`` if the server does not give the archive, or the disk is full;
    ///   ``HalfpiError/archive(path:detail:)`` if that is an archive of another model, or none.
    @discardableResult
    public func downloadArchive(
        _ url: URL,
        to target: URL,
        archiveSHA256: String,
        sha256: String,
        progress: (@Sendable (_ received: Int64, _ size: Int64?) -> Void)? = nil,
        unpacking: (@Sendable (Double) -> Void)? = nil
    ) async throws(HalfpiError) -> URL {
        let archiveExpected = try hexadecimal("archiveSHA256", archiveSHA256)
        let expected = try hexadecimal("sha256", sha256)
        let archive = target.appendingPathExtension("hpar")
        if try await !isThere(target, expected) {
            try await download(url, to: archive, sha256: archiveExpected, progress: progress)
            do {
                try await ModelArchive.unpack(archive, to: target, sha256: expected, progress: unpacking)
            } catch {
                // If it is what was asked for, another try would end the same way.
                if case .archive = error { try? FileManager.default.removeItem(at: archive) }
                throw error
            }
        }
        // Also what is left of an earlier try that was ended at the last moment.
        for left in [archive, archive.appendingPathExtension("part")] { try? FileManager.default.removeItem(at: left) }
        return target
    }

    /// Brings `part` to its full length.
    private func fetch(
        _ url: URL,
        to part: URL,
        progress: (@Sendable (Int64, Int64?) -> Void)?
    ) async throws(HalfpiError) {
        var failures = 0
        while true {
            let transfer = try Transfer(into: part, progress: progress)
            switch await transfer.run(request(url, from: transfer.start)) {
            case .complete: return
            case .failed(let error): throw error
            case .broken(let detail):
                failures = transfer.received > transfer.start ? 1 : failures + 1
                if failures >= attempts { throw .io(path: url.absoluteString, detail: detail) }
            }
            do {
                try await Task.sleep(for: firstRetry * (1 << min(failures - 1, 6)))
            } catch {
                throw .cancelled
            }
        }
    }

    private func request(_ url: URL, from start: Int64) -> URLRequest {
        var request = URLRequest(url: url, cachePolicy: .reloadIgnoringLocalCacheData, timeoutInterval: 30)
        for (name, value) in headers { request.setValue(value, forHTTPHeaderField: name) }
        // Compressed on the way, ranges would be those of something else.
        request.setValue("identity", forHTTPHeaderField: "Accept-Encoding")
        if start > 0 { request.setValue("bytes=\(start)-", forHTTPHeaderField: "Range") }
        return request
    }

    private func hexadecimal(_ name: String, _ sha256: String) throws(HalfpiError) -> String {
        let digits = sha256.lowercased()
        guard digits.utf8.count == 64, digits.utf8.allSatisfy({ "0123456789abcdef".utf8.contains($0) }) else {
            throw .invalidOption(name: name, detail: "not 64 hexadecimal digits")
        }
        return digits
    }

    private func isThere(_ file: URL, _ sha256: String) async throws(HalfpiError) -> Bool {
        guard FileManager.default.fileExists(atPath: file.path) else { return false }
        return try await checksum(file) == sha256
    }

    private func checksum(_ file: URL) async throws(HalfpiError) -> String {
        if Task.isCancelled { throw .cancelled }
        return try await blocking { try fileSha256(path: file.path) }.get()
    }
}

/// One connection, whose data goes to the end of a file.
///
/// With a delegate, because the asynchronous bytes of `URLSession` come one by one, and are not there on Linux.
private final class Transfer: NSObject, URLSessionDataDelegate, @unchecked Sendable {
    enum Outcome {
        /// The file has all that the server has.
        case complete
        /// Another connection may do better.
        case broken(String)
        case failed(HalfpiError)
    }

    /// Bytes that were there before.
    let start: Int64

    private let path: String
    private let file: FileHandle
    private let progress: (@Sendable (Int64, Int64?) -> Void)?

    /// Guards all that follows.
    private let lock = NSLock()
    private var have: Int64
    private var size: Int64?
    private var outcome: Outcome?
    private var waiting: CheckedContinuation<Void, Never>?

    init(into part: URL, progress: (@Sendable (Int64, Int64?) -> Void)?) throws(HalfpiError) {
        path = part.path
        self.progress = progress
        do {
            try FileManager.default.createDirectory(
                at: part.deletingLastPathComponent(), withIntermediateDirectories: true)
            if !FileManager.default.fileExists(atPath: path) {
                // If it cannot, opening says why.
                _ = FileManager.default.createFile(atPath: path, contents: nil)
            }
            file = try FileHandle(forWritingTo: part)
            start = Int64(try file.seekToEnd())
        } catch {
            throw .io(path: part.path, detail: error.localizedDescription)
        }
        have = start
    }

    /// Bytes that are there now.
    var received: Int64 { lock.withLock { have } }

    func run(_ request: URLRequest) async -> Outcome {
        let configuration = URLSessionConfiguration.ephemeral
        configuration.urlCache = nil
        let session = URLSession(configuration: configuration, delegate: self, delegateQueue: nil)
        let task = session.dataTask(with: request)
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = lock.withLock {
                    if outcome == nil { waiting = continuation }
                    return outcome != nil
                }
                if isOver { continuation.resume() } else { task.resume() }
            }
        } onCancel: {
            end(.failed(.cancelled))
        }
        // Nothing is written any more.
        session.invalidateAndCancel()
        do {
            try file.synchronize()
            try file.close()
        } catch {
            return .failed(.io(path: path, detail: error.localizedDescription))
        }
        return lock.withLock { outcome ?? .failed(.cancelled) }
    }

    /// The first one counts.
    private func end(_ outcome: Outcome) {
        let waiting = lock.withLock {
            if self.outcome == nil { self.outcome = outcome }
            defer { self.waiting = nil }
            return self.waiting
        }
        waiting?.resume()
    }

    func urlSession(
        _ session: URLSession,
        dataTask: URLSessionDataTask,
        didReceive response: URLResponse,
        completionHandler: @escaping @Sendable (URLSession.ResponseDisposition) -> Void
    ) {
        do throws(HalfpiError) {
            if let outcome = try begin(response) { end(outcome) }
        } catch {
            end(.failed(error))
        }
        completionHandler(lock.withLock { outcome == nil } ? .allow : .cancel)
    }

    /// What the answer's head decides already.
    private func begin(_ response: URLResponse) throws(HalfpiError) -> Outcome? {
        let http = response as? HTTPURLResponse
        let code = http?.statusCode ?? 0
        let range = http?.value(forHTTPHeaderField: "Content-Range")
        switch code {
        case 206 where range?.hasPrefix("bytes \(start)-") == true: break
        // The server knows no ranges: from the beginning.
        case 200:
            do {
                try file.truncate(atOffset: 0)
            } catch {
                throw .io(path: path, detail: error.localizedDescription)
            }
            lock.withLock { have = 0 }
        // Complete, or longer than the file is now: the checksum tells.
        case 416 where start > 0: return .complete
        default:
            let detail = "the server answers with status \(code)"
            // Codes that another try may not meet again are worth one.
            if code >= 500 || code == 429 { return .broken(detail) }
            throw .io(path: response.url?.absoluteString ?? path, detail: detail)
        }
        let length = response.expectedContentLength
        if length >= 0 { lock.withLock { size = have + length } }
        return nil
    }

    func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
        let told: (Int64, Int64?)
        do {
            // Written under the lock, so that nothing is written any more once the outcome is known.
            guard let written = try lock.withLock({ () throws -> (Int64, Int64?)? in
                guard outcome == nil else { return nil }
                try file.write(contentsOf: data)
                have += Int64(data.count)
                return (have, size)
            }) else { return }
            told = written
        } catch {
            return end(.failed(.io(path: path, detail: error.localizedDescription)))
        }
        progress?(told.0, told.1)
    }

    func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
        let isWhole = lock.withLock { size == nil || have == size }
        if let error {
            end(.broken(error.localizedDescription))
        } else {
            end(isWhole ? .complete : .broken("the connection broke"))
        }
    }
}
