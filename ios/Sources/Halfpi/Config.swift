/// How a model is loaded and run. Every field has a default that suits a phone.
public struct EngineConfig: Sendable, Hashable {
    /// Threads that work on an answer, 1 to 64; `nil` for one for each fast core.
    public var threads: Int?
    /// The kernels to use, one of ``HalfpiLibrary/availableBackends``; `nil` for the fastest that this CPU runs.
    public var backend: String?
    /// Bytes that weights and sessions together may take; `nil` for no limit. A model or a session that needs more is
    /// refused with ``HalfpiError/memoryBudget(neededBytes:budgetBytes:detail:)`` before anything is loaded.
    public var memoryBudgetBytes: UInt64?
    /// Computes with f32 activations instead of int8 ones: many times slower, for judging a model.
    public var exact: Bool
    /// Tokens of a prompt that are read at once, 1 to 4096. More are faster, take more memory and delay a cancel.
    public var prefillChunk: Int
    /// A low-rank adapter of the model (LoRA), in a GGUF file of its own; `nil` for the model as it is. A conversation
    /// that was saved with it can only be taken up with it.
    public var adapter: ModelSource?

    public init(
        threads: Int? = nil,
        backend: String? = nil,
        memoryBudgetBytes: UInt64? = nil,
        exact: Bool = false,
        prefillChunk: Int = 128,
        adapter: ModelSource? = nil
    ) {
        self.threads = threads
        self.backend = backend
        self.memoryBudgetBytes = memoryBudgetBytes
        self.exact = exact
        self.prefillChunk = prefillChunk
        self.adapter = adapter
    }
}

/// What keys and values are stored as.
public enum KVPrecision: Sendable, Hashable {
    /// Half precision.
    case float16
    /// 8 bits: half the memory, at a small loss of quality.
    case int8
}

/// What happens when a conversation no longer fits in its context.
public enum ContextOverflow: Sendable, Hashable {
    /// The system message stays and the oldest turns are forgotten.
    case slide
    /// ``HalfpiError/contextOverflow(needed:contextLength:)``; the conversation stays as it was before the call.
    case error
    /// The answer ends with ``FinishReason/contextFull``. A prompt that does not fit is an error.
    case stop
}

/// What a conversation is made for.
public struct SessionConfig: Sendable, Hashable {
    /// The system message; `nil` leaves it to the model's template.
    public var system: String?
    /// Tokens of prompt and answer together; `nil` for 4096, or all that the model has.
    public var contextLength: Int?
    /// What keys and values are stored as.
    public var kvPrecision: KVPrecision
    /// What happens when the context is full.
    public var overflow: ContextOverflow
    /// The tools that the model may call.
    public var tools: [ToolDeclaration]
    /// Whether the model thinks before it answers, for those that can do both; `nil` leaves it to the template.
    public var thinking: Bool?

    public init(
        system: String? = nil,
        contextLength: Int? = nil,
        kvPrecision: KVPrecision = .float16,
        overflow: ContextOverflow = .slide,
        tools: [ToolDeclaration] = [],
        thinking: Bool? = nil
    ) {
        self.system = system
        self.contextLength = contextLength
        self.kvPrecision = kvPrecision
        self.overflow = overflow
        self.tools = tools
        self.thinking = thinking
    }
}

/// How an answer is chosen and where it ends.
public struct GenerationOptions: Sendable, Hashable {
    /// Tokens of the answer at most; `nil` for as many as fit in the context. 0 only reads the prompt.
    public var maxTokens: Int?
    /// Below 1 sharpens, above 1 flattens, 0 always takes the most likely token.
    public var temperature: Float
    /// Keeps so many of the most likely tokens; 0 keeps all.
    public var topK: Int
    /// Keeps the fewest most likely tokens that together have this probability; 1 keeps all.
    public var topP: Float
    /// Drops tokens less likely than this share of the most likely one; 0 keeps all.
    public var minP: Float
    /// Makes tokens of the last ``penaltyLastN`` less likely; 1 is off.
    public var repetitionPenalty: Float
    /// Subtracted from a token's score once for each time it occurred; 0 is off.
    public var frequencyPenalty: Float
    /// Subtracted from a token's score if it occurred; 0 is off.
    public var presencePenalty: Float
    /// How many of the last tokens the penalties look at; 0 switches them off.
    public var penaltyLastN: Int
    /// The same seed gives the same answer on every device; `nil` for another answer each time. ``Usage/seed`` tells
    /// which one was taken.
    public var seed: UInt64?
    /// Texts that end the answer; they are not part of it.
    public var stop: [String]
    /// Holds the answer to this JSON schema: its text is a value of it and nothing else. The prompt should say so too.
    /// Such an answer calls no tools, and thinks before only if ``SessionConfig/thinking`` is `true`.
    public var jsonSchema: String?

    public init(
        maxTokens: Int? = nil,
        temperature: Float = 0.7,
        topK: Int = 40,
        topP: Float = 0.95,
        minP: Float = 0.05,
        repetitionPenalty: Float = 1.1,
        frequencyPenalty: Float = 0,
        presencePenalty: Float = 0,
        penaltyLastN: Int = 64,
        seed: UInt64? = nil,
        stop: [String] = [],
        jsonSchema: String? = nil
    ) {
        self.maxTokens = maxTokens
        self.temperature = temperature
        self.topK = topK
        self.topP = topP
        self.minP = minP
        self.repetitionPenalty = repetitionPenalty
        self.frequencyPenalty = frequencyPenalty
        self.presencePenalty = presencePenalty
        self.penaltyLastN = penaltyLastN
        self.seed = seed
        self.stop = stop
        self.jsonSchema = jsonSchema
    }
}
