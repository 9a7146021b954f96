import HalfpiTestSupport
import XCTest

/// The program of docs/swift.md, which `cargo xtask test swift` takes out of the page.
final class DocumentationTests: XCTestCase {
    func testThePageRuns() async throws {
        guard let path = TestModel.chat else { throw XCTSkip("HALFPI_TEST_MODEL is not set: docs/swift.md is not run") }
        try await documentation(modelPath: path)
    }
}
