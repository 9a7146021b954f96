import Foundation
import Halfpi
import HalfpiTestSupport
import Testing

import func HalfpiFFI.fileSha256

/// The model comes back whole, or what was there stays and nothing else is there.
@Suite(.timeLimit(.minutes(1))) final class ModelArchiveTests {
    private let directory = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    private let model: Data
    private let whole: Data
    private let sha256: String

    private var archive: URL { directory.appending(path: "model.hpar") }
    private var target: URL { directory.appending(path: "model.gguf") }

    /// With an older model where the new one is to be.
    init() throws {
        model = try Data(contentsOf: URL(filePath: TestModel.archived))
        whole = try Data(contentsOf: URL(filePath: TestModel.archive))
        sha256 = try fileSha256(path: TestModel.archived)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        try whole.write(to: archive)
        try Data("an older model".utf8).write(to: target)
    }

    deinit {
        try? FileManager.default.removeItem(at: directory)
    }

    @Test func theModelComesBackBitForBit() async throws {
        let parts = Parts()
        let unpacked = try await ModelArchive.unpack(
            archive, to: target, sha256: sha256.uppercased(), progress: parts.hear)
        #expect(unpacked.fileBytes == UInt64(model.count))
        #expect(unpacked.archiveBytes == UInt64(whole.count))
        #expect(unpacked.sha256 == sha256)
        #expect(try Data(contentsOf: target) == model)
        #expect(parts.all == parts.all.sorted())
        #expect(parts.all.first == 0 && parts.all.last == 1)
        // Whatever it holds.
        try FileManager.default.removeItem(at: target)
        #expect(try await ModelArchive.unpack(archive, to: target) == unpacked)
        try await Engine.load(.path(target.path)).close()
    }

    @Test func cancellingLeavesNothing() async throws {
        let canceller = Canceller()
        let task = Task { [archive, target] in
            try await ModelArchive.unpack(archive, to: target, progress: canceller.hear)
        }
        canceller.cancels { task.cancel() }
        #expect(await failure { try await task.value } == .cancelled)
        try expectUntouched()
    }

    @Test func aDamagedArchiveChangesNothing() async throws {
        var changed = whole
        changed[whole.count / 2] &+= 1
        for bytes in [whole.prefix(whole.count / 2), whole + Data([0]), model, changed] {
            try bytes.write(to: archive)
            let error = await failure { [archive, target] in try await ModelArchive.unpack(archive, to: target) }
            guard case .archive(archive.path, let detail)? = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(!detail.isEmpty)
            try expectUntouched()
        }
    }

    @Test func anArchiveOfAnotherModelOrALargerOneChangesNothing() async throws {
        let another = String(repeating: "0123456789abcdef", count: 4)
        let error = await failure { [archive, target] in
            try await ModelArchive.unpack(archive, to: target, sha256: another)
        }
        guard case .archive(_, let detail)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(detail.contains(another) && detail.contains(sha256))
        guard case .invalidOption("sha256", _)? = await failure({ [archive, target] in
            try await ModelArchive.unpack(archive, to: target, sha256: "ab")
        }) else {
            Issue.record("not the error expected")
            return
        }
        guard case .archive? = await failure({ [archive, target] in
            try await ModelArchive.unpack(archive, to: target, maxBytes: 1000)
        }) else {
            Issue.record("not the error expected")
            return
        }
        try expectUntouched()
    }

    @Test func filesThatCannotBeReadOrWritten() async throws {
        let nowhere = URL(filePath: "/nowhere/model")
        guard case .io(nowhere.path, _)? = await failure({ [target] in
            try await ModelArchive.unpack(nowhere, to: target)
        }), case .io? = await failure({ [archive] in try await ModelArchive.unpack(archive, to: nowhere) }) else {
            Issue.record("not the errors expected")
            return
        }
        try expectUntouched()
    }

    private func expectUntouched() throws {
        #expect(try Data(contentsOf: target) == Data("an older model".utf8))
        let files = try FileManager.default.contentsOfDirectory(atPath: directory.path).sorted()
        #expect(files == ["model.gguf", "model.hpar"])
    }
}
