/// One message of a conversation.
public struct ChatMessage: Sendable, Hashable {
    /// Who speaks.
    public enum Role: Sendable, Hashable {
        /// Instructions that hold for the whole conversation.
        case system
        /// The person.
        case user
        /// The model.
        case assistant
        /// The result of a tool that the model called.
        case tool
    }

    /// Who speaks.
    public var role: Role
    /// What is said.
    public var content: String
    /// What the model thought before it said this.
    public var thinking: String?
    /// The tools that the model called. Their results follow, each in a message of its own, in the same order.
    public var toolCalls: [ToolCall]

    public init(role: Role, content: String, thinking: String? = nil, toolCalls: [ToolCall] = []) {
        self.role = role
        self.content = content
        self.thinking = thinking
        self.toolCalls = toolCalls
    }
}

/// A function of the app that the model may call.
public struct ToolDeclaration: Sendable, Hashable {
    /// The name that the model calls it by.
    public var name: String
    /// What it does and when to call it, for the model to read.
    public var description: String
    /// The JSON schema of its arguments: an object with `properties`.
    public var parametersJSONSchema: String

    public init(name: String, description: String, parametersJSONSchema: String) {
        self.name = name
        self.description = description
        self.parametersJSONSchema = parametersJSONSchema
    }
}

/// A call of a tool, as the model wrote it: the tool need not exist and the arguments need not fit its schema.
public struct ToolCall: Sendable, Hashable {
    /// The tool's name.
    public var name: String
    /// Its arguments: a JSON object.
    public var argumentsJSON: String

    public init(name: String, argumentsJSON: String) {
        self.name = name
        self.argumentsJSON = argumentsJSON
    }
}

/// Why an answer ended.
public enum FinishReason: Sendable, Hashable {
    /// The model ended its turn, or the answer is all that its JSON schema asks for.
    case endOfTurn
    /// The model ended its turn with calls of tools and waits for ``Session/stream(toolResults:options:)``.
    case toolCalls
    /// One of ``GenerationOptions/stop`` came.
    case stopString
    /// ``GenerationOptions/maxTokens`` was reached.
    case maxTokens
    /// The context is full, and the session was told to stop there.
    case contextFull
    /// Somebody cancelled. What was said until then is part of the conversation.
    case cancelled
}

/// What an answer cost.
public struct Usage: Sendable, Hashable {
    /// Tokens of the whole prompt.
    public let promptTokens: Int
    /// Those of them that were cached from an earlier turn.
    public let cachedTokens: Int
    /// Those of them that had to be read.
    public let prefillTokens: Int
    /// Tokens of the answer.
    public let generatedTokens: Int
    /// Reading the prompt.
    public let prefillTime: Duration
    /// From the call to the first token of the answer.
    public let timeToFirstToken: Duration
    /// From the first token to the last.
    public let decodeTime: Duration
    /// The seed that was taken.
    public let seed: UInt64

    /// How fast the answer came after its first token, if it has more than one.
    public var tokensPerSecond: Double? {
        guard generatedTokens > 1, decodeTime > .zero else { return nil }
        let seconds: Double = decodeTime / Duration.seconds(1)
        return Double(generatedTokens - 1) / seconds
    }
}

/// A whole answer.
public struct Answer: Sendable, Hashable {
    /// What the model said.
    public let text: String
    /// What it thought before, if it did.
    public let thinking: String?
    /// The tools that it calls, in order.
    public let toolCalls: [ToolCall]
    /// Why it ended.
    public let finish: FinishReason
    /// What it cost.
    public let usage: Usage
}
