import Foundation
import Halfpi
import HalfpiTestSupport
import Testing

/// Downloads over connections that break, from servers that do as they like.
@Suite(.timeLimit(.minutes(1))) final class ModelDownloaderTests {
    private let directory = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    private let downloader = ModelDownloader(attempts: 3, firstRetry: .milliseconds(1))
    private let content = Data((0..<1_000_000).map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761) >> 7) })
    /// Python's hashlib says so.
    private let sha256 = "3c5c990abf28f89bac0d4f506271e3dca9212b4e8a02204fe2394b6f6679b001"

    private var target: URL { directory.appending(path: "models/model.gguf") }
    private var part: URL { target.appendingPathExtension("part") }

    deinit {
        try? FileManager.default.removeItem(at: directory)
    }

    @Test func aConnectionThatBreaksAgainAndAgainLosesNothing() async throws {
        let server = try TestServer { [content] _ in
            var answer = TestServer.Answer(content)
            answer.breakAfter = 130_000
            return answer
        }
        let told = Told()
        let file = try await downloader.download(server.url, to: target, sha256: sha256, progress: told.hear)
        #expect(try Data(contentsOf: file) == content)
        #expect(file == target)
        #expect(server.ranges.count == 8)
        #expect(server.ranges.first == "all")
        #expect(told.received == told.received.sorted())
        #expect(told.received.last == Int64(content.count))
        #expect(told.sizes == [Int64(content.count)])
        #expect(!FileManager.default.fileExists(atPath: part.path))
    }

    @Test func aCancelledDownloadGoesOnWhereItWas() async throws {
        let server = try TestServer { [content] request in
            var answer = TestServer.Answer(content)
            if request == 1 { answer.holdAfter = 300_000 }
            return answer
        }
        let told = Told()
        let task = Task { [downloader, target, sha256] in
            try await downloader.download(server.url, to: target, sha256: sha256, progress: told.hear)
        }
        #expect(await eventually { told.received.last ?? 0 > 200_000 })
        task.cancel()
        #expect(await failure { try await task.value } == .cancelled)
        let kept = try Data(contentsOf: part)
        #expect((200_001...300_000).contains(kept.count))
        #expect(kept == content.prefix(kept.count))
        #expect(!FileManager.default.fileExists(atPath: target.path))

        try await downloader.download(server.url, to: target, sha256: sha256)
        #expect(server.ranges.last == "\(kept.count)-")
        #expect(try Data(contentsOf: target) == content)
    }

    @Test func aServerWithoutRangesSendsAllAgain() async throws {
        let server = try TestServer { [content] _ in
            var answer = TestServer.Answer(content)
            answer.honoursRanges = false
            return answer
        }
        try put(Data(repeating: 7, count: 1000), at: part)
        try await downloader.download(server.url, to: target, sha256: sha256)
        #expect(server.ranges == ["1000-"])
        #expect(try Data(contentsOf: target) == content)
    }

    @Test func aWrongFileNeverGetsItsNameAndTheNextTryStartsAnew() async throws {
        let server = try TestServer { [content] request in
            TestServer.Answer(request == 1 ? Data(content.reversed()) : content)
        }
        try put(Data("the old model".utf8), at: target)
        let error = await failure { [downloader, target, sha256] in
            try await downloader.download(server.url, to: target, sha256: sha256)
        }
        guard case .io(server.url.absoluteString, let detail)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(detail.contains(sha256))
        #expect(try Data(contentsOf: target) == Data("the old model".utf8))
        try await downloader.download(server.url, to: target, sha256: sha256.uppercased())
        #expect(server.ranges == ["all", "all"])
        #expect(try Data(contentsOf: target) == content)
    }

    @Test func aFileThatIsThereIsNotFetchedAgain() async throws {
        let server = try TestServer { [content] _ in TestServer.Answer(content) }
        try put(content, at: target)
        try await downloader.download(server.url, to: target, sha256: sha256)
        #expect(server.ranges.isEmpty)
        // Nor is one that only lacks its name.
        try FileManager.default.moveItem(at: target, to: part)
        try await downloader.download(server.url, to: target, sha256: sha256)
        #expect(server.ranges == ["\(content.count)-"])
        #expect(try Data(contentsOf: target) == content)
    }

    @Test(arguments: [(404, 1), (503, 3), (429, 3)])
    func refusalsAreErrorsAndSomeAreTriedAgain(status: Int, times: Int) async throws {
        let server = try TestServer { _ in TestServer.Answer(Data(), status: status) }
        let error = await failure { [downloader, target, sha256] in
            try await downloader.download(server.url, to: target, sha256: sha256)
        }
        guard case .io(_, let detail)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(detail.contains("\(status)"))
        #expect(server.ranges.count == times)
    }

    @Test func nobodyIsThere() async throws {
        let url = try #require(URL(string: "http://127.0.0.1:1/model.gguf"))
        guard case .io? = await failure({ [downloader, target, sha256] in
            try await downloader.download(url, to: target, sha256: sha256)
        }) else {
            Issue.record("not the error expected")
            return
        }
        guard case .invalidOption("sha256", _)? = await failure({ [downloader, target] in
            try await downloader.download(url, to: target, sha256: "ab")
        }) else {
            Issue.record("not the error expected")
            return
        }
    }

    private func put(_ data: Data, at file: URL) throws {
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try data.write(to: file)
    }
}

/// What progress was told.
private final class Told: @unchecked Sendable {
    private let lock = NSLock()
    private var all: [(Int64, Int64?)] = []

    var received: [Int64] { lock.withLock { all.map(\.0) } }
    var sizes: Set<Int64?> { lock.withLock { Set(all.map(\.1)) } }

    func hear(_ received: Int64, _ size: Int64?) {
        lock.withLock { all.append((received, size)) }
    }
}
