import HalfpiFFI
import Testing

@testable import Halfpi

/// The façade repeats the library's defaults, because Swift shows them; they must not drift apart.
@Test func defaultsAreTheLibrarys() throws {
    #expect(try Halfpi.GenerationOptions().ffi() == HalfpiFFI.GenerationOptions())
    #expect(try Halfpi.EngineConfig().ffi() == HalfpiFFI.EngineConfig())
}
