// Not compiled against Apple's framework by this project's tests, which have no Mac: they compile and run it against a
// stand-in of the parts that it uses, declared as Apple's documentation has them (Tests/FoundationModels).
#if canImport(FoundationModels)
import Foundation
import FoundationModels
import Halfpi

/// A model behind the system's own sessions: everything that an app does with `LanguageModelSession` (streaming,
/// `@Generable` types, tools) runs on the engine.
///
/// ```swift
/// let session = LanguageModelSession(model: HalfpiLanguageModel(engine))
/// ```
@available(iOS 27.0, macOS 27.0, visionOS 27.0, *)
public struct HalfpiLanguageModel: LanguageModel {
    private let engine: Engine
    private let config: SessionConfig

    /// - Parameters:
    ///   - engine: What answers.
    ///   - config: The context and its precision. Instructions and tools come from the system's session.
    public init(_ engine: Engine, config: SessionConfig = SessionConfig()) {
        self.engine = engine
        self.config = config
    }

    public var capabilities: LanguageModelCapabilities {
        let reasoning: [LanguageModelCapabilities.Capability] = engine.info.supportsThinking ? [.reasoning] : []
        return LanguageModelCapabilities([.guidedGeneration, .toolCalling] + reasoning)
    }

    public var executorConfiguration: Executor.Configuration {
        Executor.Configuration(engine: engine, config: config)
    }

    /// Answers the requests of one system session, which keeps it as long as the configuration is the same.
    public struct Executor: LanguageModelExecutor {
        public typealias Model = HalfpiLanguageModel

        public struct Configuration: Hashable, Sendable {
            let engine: Engine
            let config: SessionConfig

            public static func == (left: Self, right: Self) -> Bool {
                left.engine === right.engine && left.config == right.config
            }

            public func hash(into hasher: inout Hasher) {
                hasher.combine(ObjectIdentifier(engine))
                hasher.combine(config)
            }
        }

        private let conversation: Conversation

        public init(configuration: Configuration) throws {
            conversation = Conversation(configuration)
        }

        public func respond(
            to request: LanguageModelExecutorGenerationRequest,
            model: HalfpiLanguageModel,
            streamingInto channel: LanguageModelExecutorGenerationChannel
        ) async throws {
            let tools = request.enabledToolDefinitions.map(ToolDeclaration.init)
            let session = try await conversation.session(tools: tools)
            let stream = session.stream(
                messages: try ChatMessage.all(of: request.transcript),
                options: try Halfpi.GenerationOptions(request)
            )
            do {
                try await Self.pass(stream, into: channel)
            } catch HalfpiError.contextOverflow(let needed, let length) {
                let sizes = "\(needed) tokens do not fit in a context of \(length)"
                throw LanguageModelError.contextSizeExceeded(
                    .init(contextSize: Int(length), tokenCount: Int(needed), debugDescription: sizes))
            }
            // The stream of a cancelled task just ends, which the system would take for a whole answer.
            try Task.checkCancellation()
        }

        private static func pass(
            _ stream: GenerationStream,
            into channel: LanguageModelExecutorGenerationChannel
        ) async throws {
            // One entry of the transcript for each kind of event, however they alternate.
            let (response, reasoning, calls) = (UUID().uuidString, UUID().uuidString, UUID().uuidString)
            for try await event in stream {
                switch event {
                case .text(let piece):
                    await channel.send(.response(entryID: response, action: .appendText(piece, tokenCount: 1)))
                case .thinking(let piece):
                    await channel.send(.reasoning(entryID: reasoning, action: .appendText(piece, tokenCount: 1)))
                case .toolCall(let call):
                    let arguments = call.argumentsJSON
                    await channel.send(
                        .toolCalls(
                            entryID: calls,
                            action: .toolCall(
                                id: UUID().uuidString,
                                name: call.name,
                                action: .appendArguments(arguments, tokenCount: 1))))
                case .finished(let answer):
                    // Last, because these are the true counts.
                    let usage = answer.usage
                    await channel.send(
                        .response(
                            entryID: response,
                            action: .updateUsage(
                                input: .init(
                                    totalTokenCount: usage.promptTokens,
                                    cachedTokenCount: usage.cachedTokens),
                                output: .init(totalTokenCount: usage.generatedTokens, reasoningTokenCount: 0))))
                }
            }
        }
    }
}

/// The one session that an executor keeps, so that a next turn reads only what is new of the transcript.
@available(iOS 27.0, macOS 27.0, visionOS 27.0, *)
private actor Conversation {
    private let configuration: HalfpiLanguageModel.Executor.Configuration
    private var current: (session: Session, tools: [ToolDeclaration])?

    init(_ configuration: HalfpiLanguageModel.Executor.Configuration) {
        self.configuration = configuration
    }

    func session(tools: [ToolDeclaration]) async throws -> Session {
        // The prompt begins with the tools: with others, nothing that was read can be kept.
        if let current, current.tools == tools { return current.session }
        var config = configuration.config
        config.tools = tools
        let session = try await configuration.engine.session(config)
        current = (session, tools)
        return session
    }
}
#endif
