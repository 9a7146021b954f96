internal import HalfpiFFI

/// A loaded model. It is heavy; an app has one, and many sessions on it, which share its weights.
///
/// An engine answers one session at a time, first come first served, on a thread of its own. It may be used from
/// anywhere, and no call blocks a thread of Swift's.
public actor Engine {
    private nonisolated let ffi: HalfpiFFI.Engine
    private nonisolated let executor = ThreadExecutor("halfpi.engine")
    public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    private init(_ ffi: HalfpiFFI.Engine) {
        self.ffi = ffi
        info = ModelInfo(ffi.info())
        backend = ffi.backend()
    }

    /// What the model says about itself.
    public nonisolated let info: ModelInfo

    /// The kernels that were chosen, by name.
    public nonisolated let backend: String

    /// Loads a model.
    ///
    /// Cancelling the task stops the loading within milliseconds and throws ``HalfpiError/cancelled``.
    ///
    /// - Parameters:
    ///   - source: The file.
    ///   - config: How to run it.
    ///   - progress: Called from another thread with the part that is loaded, from 0 to 1.
    public static func load(
        _ source: ModelSource,
        config: EngineConfig = EngineConfig(),
        progress: (@Sendable (Double) -> Void)? = nil
    ) async throws(HalfpiError) -> Engine {
        let loaded = await reporting(progress) { listener in
            try HalfpiFFI.Engine.load(source: source.ffi, config: config.ffi(), listener: listener)
        }
        return Engine(try loaded.get())
    }

    /// Begins a conversation. That takes little; its memory is taken as it is used.
    public func session(_ config: SessionConfig = SessionConfig()) throws(HalfpiError) -> Session {
        try Session(rethrowing { try ffi.session(config: config.ffi()) })
    }

    /// What the engine and its sessions take now.
    public func memory() throws(HalfpiError) -> MemoryReport {
        try MemoryReport(rethrowing { try ffi.memory() })
    }

    /// Gives memory back to the system; what is needed again is read again. Sessions in the middle of an answer keep
    /// what they use. Does nothing once closed.
    public func trim(_ level: TrimLevel) {
        ffi.trim(level: level.ffi)
    }

    /// Threads that work on an answer; 0 once closed.
    public nonisolated var threads: Int { Int(ffi.threads()) }

    /// Takes another number of threads from now on, also in answers that are being made: at least 1, and never more
    /// than those that the engine was loaded with.
    public nonisolated func setThreads(_ count: Int) throws(HalfpiError) {
        let count = try narrowed("threads", count)
        try rethrowing { try ffi.setThreads(threads: count) }
    }

    /// How much of the device is used.
    public nonisolated var powerMode: PowerMode {
        get throws(HalfpiError) { try PowerMode(rethrowing { try ffi.powerMode() }) }
    }

    /// Uses more or less of the device from the next token on. A paused answer waits, and can be cancelled. Does
    /// nothing once closed.
    public nonisolated func setPowerMode(_ mode: PowerMode) {
        ffi.setPowerMode(mode: mode.ffi)
    }

    /// Tokens of a text.
    public func tokenCount(_ text: String) throws(HalfpiError) -> Int {
        try Int(rethrowing { try ffi.tokenCount(text: text) })
    }

    /// Cancels all generations and gives all memory back. Afterwards every call, of sessions too, throws
    /// ``HalfpiError/closed``. Letting go of the engine and its sessions does the same.
    public func close() {
        ffi.close()
    }
}

/// How badly memory is needed.
public enum TrimLevel: Sendable, Hashable {
    /// Gives back what costs little to have again: pages of the mapped file and working memory.
    case moderate
    /// Gives back the whole caches of idle sessions too. Their conversations stay: the next answer reads them again.
    case critical
}

/// How much of the device an engine uses.
public enum PowerMode: Sendable, Hashable {
    /// All of its threads.
    case full
    /// Half of its threads.
    case reduced
    /// Nothing: answers wait for another mode, or for being cancelled.
    case paused
}
