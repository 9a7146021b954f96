internal import HalfpiFFI

/// The library as a whole.
public enum HalfpiLibrary {
    /// The version of the Rust library.
    public static var version: String { libraryVersion() }

    /// The kernels that this CPU runs, by name, the fastest first.
    public static var availableBackends: [String] { HalfpiFFI.availableBackends() }

    /// Sends the library's log to `sink`, from any thread; without a sink it goes nowhere, which is how it begins.
    ///
    /// - Throws: ``HalfpiError/invalidOption(name:detail:)`` in a process whose Rust code has a logger of its own.
    public static func setLog(_ level: LogLevel, _ sink: (@Sendable (LogRecord) -> Void)?) throws(HalfpiError) {
        try rethrowing { try setLogSink(level: level.ffi, sink: sink.map(ClosureSink.init)) }
    }
}

/// How much of the log is wanted: a level and all above it.
public enum LogLevel: Sendable, Hashable {
    case error, warn, info, debug, trace
}

/// A line of the log.
public struct LogRecord: Sendable, Hashable {
    public let level: LogLevel
    /// The part of the library that writes.
    public let target: String
    public let message: String
}

private final class ClosureSink: LogSink {
    private let write: @Sendable (LogRecord) -> Void

    init(_ write: @escaping @Sendable (LogRecord) -> Void) {
        self.write = write
    }

    func log(level: HalfpiFFI.LogLevel, target: String, message: String) {
        write(LogRecord(level: LogLevel(level), target: target, message: message))
    }
}
