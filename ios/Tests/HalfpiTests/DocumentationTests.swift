import Foundation
import HalfpiFFI
import HalfpiTestSupport
import XCTest

/// The program of docs/swift.md, which `cargo xtask test swift` takes out of the page.
final class DocumentationTests: XCTestCase {
    func testThePageRuns() async throws {
        guard let path = TestModel.chat else { throw XCTSkip("HALFPI_TEST_MODEL is not set: docs/swift.md is not run") }
        let tiny = try Data(contentsOf: URL(filePath: TestModel.tiny))
        let server = try TestServer { _ in TestServer.Answer(tiny) }
        let models = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: models) }
        let sha256 = try fileSha256(path: TestModel.tiny)
        let archive = try Data(contentsOf: URL(filePath: TestModel.archive))
        let archiveServer = try TestServer { _ in TestServer.Answer(archive) }
        try await documentation(
            modelPath: path, modelURL: server.url, modelSHA256: sha256,
            archiveURL: archiveServer.url, archiveSHA256: fileSha256(path: TestModel.archive),
            unpackedSHA256: fileSha256(path: TestModel.archived), models: models
        )
        XCTAssertEqual(try Data(contentsOf: models.appending(path: "model.gguf")), tiny)
        let archived = try Data(contentsOf: URL(filePath: TestModel.archived))
        XCTAssertEqual(try Data(contentsOf: models.appending(path: "unpacked.gguf")), archived)
    }
}
