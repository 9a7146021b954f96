#if canImport(FoundationModels)
import Foundation
import FoundationModels
import Halfpi

@available(iOS 27.0, macOS 27.0, visionOS 27.0, *)
extension ChatMessage {
    /// What the model's template makes a prompt of.
    static func all(of transcript: Transcript) throws -> [ChatMessage] {
        var messages: [ChatMessage] = []
        // Reasoning belongs to the answer or the calls that follow it.
        var thinking: String?
        func assistant(_ content: String, calls: [Halfpi.ToolCall] = []) {
            messages.append(ChatMessage(role: .assistant, content: content, thinking: thinking, toolCalls: calls))
            thinking = nil
        }
        for entry in transcript {
            switch entry {
            case .instructions(let instructions):
                messages.append(ChatMessage(role: .system, content: try text(instructions.segments, of: entry)))
            case .prompt(let prompt):
                messages.append(ChatMessage(role: .user, content: try text(prompt.segments, of: entry)))
            case .toolCalls(let calls):
                assistant("", calls: calls.map { .init(name: $0.toolName, argumentsJSON: $0.arguments.jsonString) })
            case .toolOutput(let output):
                messages.append(ChatMessage(role: .tool, content: try text(output.segments, of: entry)))
            case .response(let response):
                assistant(try text(response.segments, of: entry))
            case .reasoning(let reasoning):
                thinking = (thinking ?? "") + (try text(reasoning.segments, of: entry))
            @unknown default:
                throw unsupported(entry)
            }
        }
        return messages
    }

    private static func text(_ segments: [Transcript.Segment], of entry: Transcript.Entry) throws -> String {
        try segments.map { segment in
            switch segment {
            case .text(let text): text.content
            case .structure(let structure): structure.content.jsonString
            // Images and whatever may come: leaving them out would answer another question.
            default: throw unsupported(entry)
            }
        }
        .joined(separator: "\n")
    }

    private static func unsupported(_ entry: Transcript.Entry) -> any Error {
        LanguageModelError.unsupportedTranscriptContent(
            .init(unsupportedContent: [entry], debugDescription: "halfpi reads text and structured content only"))
    }
}

@available(iOS 27.0, macOS 27.0, visionOS 27.0, *)
extension Halfpi.GenerationOptions {
    /// What the request asks for; the engine's defaults for the rest.
    init(_ request: LanguageModelExecutorGenerationRequest) throws {
        self.init()
        let asked = request.generationOptions
        maxTokens = asked.maximumResponseTokens
        if let temperature = asked.temperature { self.temperature = Float(temperature) }
        switch asked.samplingMode?.kind {
        case .greedy:
            temperature = 0
        case .randomTopK(let count, let seed):
            topK = count
            self.seed = seed
        case .randomProbabilityThreshold(let threshold, let seed):
            topP = Float(threshold)
            self.seed = seed
        default:
            break
        }
        if let schema = request.schema { jsonSchema = try json(schema) }
    }
}

@available(iOS 27.0, macOS 27.0, visionOS 27.0, *)
extension ToolDeclaration {
    init(_ tool: Transcript.ToolDefinition) {
        // A schema that cannot be written is no schema: the model gets to know the tool by its description.
        let schema = (try? json(tool.parameters)) ?? #"{"type":"object"}"#
        self.init(name: tool.name, description: tool.description, parametersJSONSchema: schema)
    }
}

/// A `GenerationSchema` is written as JSON Schema.
@available(iOS 27.0, macOS 27.0, visionOS 27.0, *)
private func json(_ schema: GenerationSchema) throws -> String {
    String(decoding: try JSONEncoder().encode(schema), as: UTF8.self)
}
#endif
