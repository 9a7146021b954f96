internal import HalfpiFFI

/// Where a model file is.
public enum ModelSource: Sendable, Hashable {
    /// A GGUF file. It is mapped, not read: what lies in a bundle or in a downloads folder is used where it lies.
    case path(String)

    /// An open file descriptor of a GGUF file, which may be part of a larger one. It is mapped where it lies.
    ///
    /// The descriptor is duplicated; the caller keeps its own and may close it after the call. `offset` and `length`
    /// are bytes; without a `length` the model reaches to the end of the file.
    case fileDescriptor(Int32, offset: UInt64 = 0, length: UInt64? = nil)
}

/// What a model file says about itself, found without loading it.
public struct ModelInfo: Sendable, Hashable {
    /// The model's name, if the file has one.
    public let name: String?
    /// The architecture by its name in GGUF, for instance `llama`.
    public let architecture: String
    /// Weights.
    public let parameters: UInt64
    /// Tokens that a conversation may have at most.
    public let contextLength: Int
    /// Tokens that the model knows.
    public let vocabularySize: Int
    /// Transformer blocks.
    public let layers: Int
    /// Bytes of the file.
    public let fileBytes: UInt64
    /// Bits of file per weight.
    public let bitsPerWeight: Double
    /// The licence, if the file names one.
    public let license: String?
    /// Whether the file brings a chat template; without one, ChatML is used.
    public let hasChatTemplate: Bool
    /// Whether the template has its model call tools; without, sessions describe them in the system message.
    public let supportsTools: Bool
    /// Whether the model thinks before it answers, or can.
    public let supportsThinking: Bool

    /// Reads the header of a model file. Nothing is loaded.
    public static func inspect(_ source: ModelSource) async throws(HalfpiError) -> ModelInfo {
        try await blocking { ModelInfo(try inspectModel(source: source.ffi)) }.get()
    }
}

/// What an engine and its sessions take now, in bytes.
public struct MemoryReport: Sendable, Hashable {
    /// The mapped model file. What is not in use the system may drop.
    public let fileBytes: UInt64
    /// Weights in memory of the process.
    public let weightsHeapBytes: UInt64
    /// What the sessions take when they are full, together.
    public let sessionsBytes: UInt64
    /// The sessions.
    public let sessions: [SessionReport]
    /// What everything together may take.
    public let budgetBytes: UInt64?
    /// What the whole process has in memory now, mapped files included; `nil` where the system does not say.
    public let residentBytes: UInt64?
}

/// What a session takes.
public struct SessionReport: Sendable, Hashable {
    /// Bytes when it is full, which is what counts against the budget.
    public let bytes: UInt64
    /// Tokens that are cached.
    public let cachedTokens: Int
    /// Bytes of their keys and values.
    public let cachedBytes: UInt64
    /// It is in the middle of an answer.
    public let isBusy: Bool
}

/// The memory that a model with one session takes, in bytes.
public struct MemoryNeeded: Sendable, Hashable {
    /// Weights that are used in the mapped file. The system may take their pages back and read them again.
    public let weightsBytes: UInt64
    /// Weights that loading converts into memory of the process.
    public let heapBytes: UInt64
    /// One session at its full context.
    public let sessionBytes: UInt64
    /// All three.
    public let totalBytes: UInt64

    /// Computes it from the header of a model file. Nothing is loaded.
    public static func of(
        _ source: ModelSource,
        config: EngineConfig = EngineConfig(),
        session: SessionConfig = SessionConfig()
    ) async throws(HalfpiError) -> MemoryNeeded {
        try await blocking {
            MemoryNeeded(try memoryNeeded(source: source.ffi, config: config.ffi(), session: session.ffi()))
        }.get()
    }
}
