// A stand-in for those parts of Apple's FoundationModels (iOS 27) that HalfpiFoundationModels uses, so that it can be
// compiled and run on Linux. Declared as Apple's documentation has them; what they do is only what the tests need.
import Foundation

public protocol LanguageModel: Sendable {
    associatedtype Executor: LanguageModelExecutor where Executor.Model == Self
    var capabilities: LanguageModelCapabilities { get }
    var executorConfiguration: Executor.Configuration { get }
}

public protocol LanguageModelExecutor: Sendable {
    associatedtype Configuration: Hashable, Sendable
    associatedtype Model: LanguageModel
    init(configuration: Configuration) throws
    func respond(
        to request: LanguageModelExecutorGenerationRequest,
        model: Model,
        streamingInto channel: LanguageModelExecutorGenerationChannel
    ) async throws
}

public struct LanguageModelCapabilities: Sendable {
    public struct Capability: Sendable, Hashable {
        let name: String
        public static let guidedGeneration = Capability(name: "guidedGeneration")
        public static let toolCalling = Capability(name: "toolCalling")
        public static let reasoning = Capability(name: "reasoning")
    }

    let all: [Capability]
    public init(_ capabilities: [Capability]) { all = capabilities }
    public func contains(_ capability: Capability) -> Bool { all.contains(capability) }
}

public struct GenerationSchema: Sendable, Codable {
    var type: String
    public init(type: String) { self.type = type }
}

public struct GeneratedContent: Sendable {
    public let jsonString: String
    public init(json: String) { jsonString = json }
}

public struct GenerationOptions: Sendable {
    public struct SamplingMode: Sendable {
        public enum Kind: Sendable {
            case greedy
            case randomTopK(Int, seed: UInt64?)
            case randomProbabilityThreshold(Double, seed: UInt64?)
        }

        public let kind: Kind
        public static let greedy = SamplingMode(kind: .greedy)
    }

    public var samplingMode: SamplingMode?
    public var temperature: Double?
    public var maximumResponseTokens: Int?

    public init(samplingMode: SamplingMode? = nil, temperature: Double? = nil, maximumResponseTokens: Int? = nil) {
        self.samplingMode = samplingMode
        self.temperature = temperature
        self.maximumResponseTokens = maximumResponseTokens
    }
}

public struct Transcript: Sendable, RandomAccessCollection {
    public enum Entry: Sendable {
        case instructions(Instructions)
        case prompt(Prompt)
        case toolCalls(ToolCalls)
        case toolOutput(ToolOutput)
        case response(Response)
        case reasoning(Reasoning)
    }

    public enum Segment: Sendable {
        case text(TextSegment)
        case structure(StructuredSegment)
        case attachment(String)
    }

    public struct TextSegment: Sendable {
        public var content: String
        public init(content: String) { self.content = content }
    }

    public struct StructuredSegment: Sendable {
        public var content: GeneratedContent
    }

    public struct Instructions: Sendable {
        public var segments: [Segment]
        public init(segments: [Segment]) { self.segments = segments }
    }

    public struct Prompt: Sendable {
        public var segments: [Segment]
        public init(segments: [Segment]) { self.segments = segments }
    }

    public struct Response: Sendable {
        public var segments: [Segment]
        public init(segments: [Segment]) { self.segments = segments }
    }

    public struct Reasoning: Sendable {
        public var segments: [Segment]
        public init(segments: [Segment]) { self.segments = segments }
    }

    public struct ToolOutput: Sendable {
        public var toolName: String
        public var segments: [Segment]
        public init(toolName: String, segments: [Segment]) {
            self.toolName = toolName
            self.segments = segments
        }
    }

    public struct ToolCall: Sendable {
        public var id: String
        public var toolName: String
        public var arguments: GeneratedContent
        public init(id: String, toolName: String, arguments: GeneratedContent) {
            self.id = id
            self.toolName = toolName
            self.arguments = arguments
        }
    }

    public struct ToolCalls: Sendable, RandomAccessCollection {
        var calls: [ToolCall]
        public init(_ calls: [ToolCall]) { self.calls = calls }
        public var startIndex: Int { 0 }
        public var endIndex: Int { calls.count }
        public subscript(index: Int) -> ToolCall { calls[index] }
    }

    public struct ToolDefinition: Sendable {
        public var name: String
        public var description: String
        public var parameters: GenerationSchema
        public init(name: String, description: String, parameters: GenerationSchema) {
            self.name = name
            self.description = description
            self.parameters = parameters
        }
    }

    var entries: [Entry]
    public init(entries: [Entry]) { self.entries = entries }
    public var startIndex: Int { 0 }
    public var endIndex: Int { entries.count }
    public subscript(index: Int) -> Entry { entries[index] }
}

public struct LanguageModelExecutorGenerationRequest: Sendable {
    public var id: UUID
    public var transcript: Transcript
    public var enabledToolDefinitions: [Transcript.ToolDefinition]
    public var schema: GenerationSchema?
    public var generationOptions: GenerationOptions

    public init(
        id: UUID = UUID(),
        transcript: Transcript,
        enabledTools: [Transcript.ToolDefinition] = [],
        schema: GenerationSchema? = nil,
        generationOptions: GenerationOptions = GenerationOptions()
    ) {
        self.id = id
        self.transcript = transcript
        enabledToolDefinitions = enabledTools
        self.schema = schema
        self.generationOptions = generationOptions
    }
}

public enum LanguageModelError: Error {
    public struct ContextSizeExceeded: Sendable {
        public let contextSize: Int
        public let tokenCount: Int
        public init(contextSize: Int, tokenCount: Int, debugDescription: String) {
            self.contextSize = contextSize
            self.tokenCount = tokenCount
        }
    }

    public struct UnsupportedTranscriptContent: Sendable {
        public let unsupportedContent: [Transcript.Entry]
        public init(unsupportedContent: [Transcript.Entry], debugDescription: String) {
            self.unsupportedContent = unsupportedContent
        }
    }

    case contextSizeExceeded(ContextSizeExceeded)
    case unsupportedTranscriptContent(UnsupportedTranscriptContent)
}

/// The stand-in writes down what it is sent.
public struct LanguageModelExecutorGenerationChannel: Sendable {
    public struct Usage: Sendable, Equatable {
        public struct Input: Sendable, Equatable {
            public let totalTokenCount: Int
            public let cachedTokenCount: Int
            public init(totalTokenCount: Int, cachedTokenCount: Int) {
                self.totalTokenCount = totalTokenCount
                self.cachedTokenCount = cachedTokenCount
            }
        }

        public struct Output: Sendable, Equatable {
            public let totalTokenCount: Int
            public init(totalTokenCount: Int, reasoningTokenCount: Int) { self.totalTokenCount = totalTokenCount }
        }
    }

    public enum ResponseAction: Sendable, Equatable {
        case text(String)
        case usage(Usage.Input, Usage.Output)
        public static func appendText(_ text: String, segmentID: String? = nil, tokenCount: Int) -> Self { .text(text) }
        public static func updateUsage(input: Usage.Input, output: Usage.Output) -> Self { .usage(input, output) }
    }

    public struct ArgumentsAction: Sendable, Equatable {
        public let arguments: String
        public static func appendArguments(_ arguments: String, tokenCount: Int) -> Self {
            ArgumentsAction(arguments: arguments)
        }
    }

    public struct ToolCallsAction: Sendable, Equatable {
        public let name: String
        public let arguments: String
        public static func toolCall(id: String, name: String, action: ArgumentsAction) -> Self {
            ToolCallsAction(name: name, arguments: action.arguments)
        }
    }

    public enum Event: Sendable, Equatable {
        case response(ResponseAction)
        case reasoning(ResponseAction)
        case toolCalls(ToolCallsAction)
        public static func response(entryID: String? = nil, action: ResponseAction) -> Self { .response(action) }
        public static func reasoning(entryID: String? = nil, action: ResponseAction) -> Self { .reasoning(action) }
        public static func toolCalls(entryID: String? = nil, action: ToolCallsAction) -> Self { .toolCalls(action) }
    }

    public actor Record {
        public private(set) var events: [Event] = []
        func append(_ event: Event) { events.append(event) }
    }

    public let record = Record()
    public init() {}
    public func send(_ event: Event) async { await record.append(event) }
}
