import Foundation
import Halfpi
import func HalfpiFFI.fileSha256
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

    private let model = try! Data(contentsOf: URL(filePath: TestModel.archived))
    private let archive = try! Data(contentsOf: URL(filePath: TestModel.archive))
    private let modelSHA256 = try! fileSha256(path: TestModel.archived)
    private let archiveSHA256 = try! fileSha256(path: TestModel.archive)

    @Test func anArchiveEndsAsTheModel() async throws {
        let server = try TestServer { [archive] _ in
            var answer = TestServer.Answer(archive)
            answer.breakAfter = 50_000
            return answer
        }
        let (told, parts) = (Told(), Parts())
        let file = try await downloader.downloadArchive(
            server.url, to: target, archiveSHA256: archiveSHA256, sha256: modelSHA256, progress: told.hear,
            unpacking: parts.hear)
        #expect(file == target)
        #expect(try Data(contentsOf: target) == model)
        #expect(try files() == ["model.gguf"])
        #expect(server.ranges == ["all", "50000-"])
        #expect(told.received.last == Int64(archive.count))
        #expect(parts.all.first == 0 && parts.all.last == 1)
    }

    @Test func aModelThatIsThereIsNotFetchedAsAnArchive() async throws {
        let server = try TestServer { [archive] _ in TestServer.Answer(archive) }
        try put(model, at: target)
        try put(Data("left by a try that was ended just before it deleted this".utf8), at: archived)
        try await downloader.downloadArchive(
            server.url, to: target, archiveSHA256: archiveSHA256, sha256: modelSHA256.uppercased())
        #expect(server.ranges.isEmpty)
        #expect(try files() == ["model.gguf"])
    }

    @Test func anArchiveThatIsThereIsUnpackedWithoutBeingFetchedAgain() async throws {
        let server = try TestServer { [archive] _ in TestServer.Answer(archive) }
        let canceller = Canceller()
        let task = Task { [downloader, target, archiveSHA256, modelSHA256] in
            try await downloader.downloadArchive(
                server.url, to: target, archiveSHA256: archiveSHA256, sha256: modelSHA256, unpacking: canceller.hear)
        }
        canceller.cancels { task.cancel() }
        #expect(await failure { try await task.value } == .cancelled)
        #expect(try files() == ["model.gguf.hpar"])
        try await downloader.downloadArchive(
            server.url, to: target, archiveSHA256: archiveSHA256, sha256: modelSHA256)
        #expect(server.ranges == ["all"])
        #expect(try Data(contentsOf: target) == model)
        #expect(try files() == ["model.gguf"])
    }

    @Test func aWrongArchiveAndOneOfAnotherModelChangeNothing() async throws {
        let server = try TestServer { [archive] _ in TestServer.Answer(archive) }
        try put(Data("the old model".utf8), at: target)
        let expectations: [(archive: String, model: String, expected: String)] = [
            (modelSHA256, modelSHA256, "io"), (archiveSHA256, sha256, "archive"),
            ("ab", sha256, "archiveSHA256"), (archiveSHA256, "", "sha256"),
        ]
        for (archiveSHA256, modelSHA256, expected) in expectations {
            let error = await failure { [downloader, target] in
                try await downloader.downloadArchive(
                    server.url, to: target, archiveSHA256: archiveSHA256, sha256: modelSHA256)
            }
            switch error {
            case .io(_, let detail): #expect(expected == "io" && detail.contains(self.archiveSHA256))
            case .archive(_, let detail): #expect(expected == "archive" && detail.contains(self.modelSHA256))
            case .invalidOption(let name, _): #expect(expected == name)
            default: Issue.record("\(String(describing: error))")
            }
            #expect(try Data(contentsOf: target) == Data("the old model".utf8))
            #expect(try files() == ["model.gguf"])
        }
    }

    private var archived: URL { target.appendingPathExtension("hpar") }

    private func files() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: target.deletingLastPathComponent().path).sorted()
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
