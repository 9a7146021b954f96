import Foundation
import Halfpi

/// The models that tests run.
public enum TestModel {
    private static let repository = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// A llama of 34 thousand random weights and 256 tokens of context: what it says is nonsense, always the same.
    public static let tiny = repository.appending(path: "tests/golden/models/llama-bf16.gguf").path

    /// A little larger, with 8 bits a weight, and its archive.
    public static let archived = repository.appending(path: "tests/golden/models/llama-q8_0.gguf").path
    public static let archive = repository.appending(path: "tests/golden/sdk/llama-q8_0.hpar").path

    /// A LoRA adapter of ``archived``.
    public static let adapter = repository.appending(path: "tests/golden/sdk/llama-lora.gguf").path

    /// Thinks, calls the tool `weather` and tells of its result, in words that never change.
    public static let toolCaller = repository.appending(path: "tests/golden/scripted/tool-caller.gguf").path

    /// SmolLM2-135M-Instruct, if the environment says where it is.
    public static let chat = ProcessInfo.processInfo.environment["HALFPI_TEST_MODEL"].flatMap { $0.isEmpty ? nil : $0 }

    public static func engine(threads: Int = 1) async throws -> Engine {
        try await Engine.load(.path(tiny), config: EngineConfig(threads: threads))
    }
}

extension GenerationOptions {
    /// The likeliest tokens, so that two runs agree.
    public static func greedy(_ maxTokens: Int) -> GenerationOptions {
        GenerationOptions(maxTokens: maxTokens, temperature: 0, repetitionPenalty: 1)
    }

    /// An answer of the tiny model that does not end by itself within any test.
    public static let endless = GenerationOptions(maxTokens: 50_000_000, temperature: 0, repetitionPenalty: 1)
}

/// What a stream said, piece by piece, and its end.
public struct Heard {
    public var pieces: [String] = []
    public var answers: [Answer] = []

    public init(_ stream: GenerationStream) async throws {
        for try await event in stream {
            switch event {
            case .text(let piece): pieces.append(piece)
            case .finished(let answer): answers.append(answer)
            case .thinking, .toolCall: break
            }
        }
    }
}

/// Waits until something is true; false if that takes longer than anybody should wait.
public func eventually(
    isolation: isolated (any Actor)? = #isolation,
    _ isTrue: () async throws -> Bool
) async rethrows -> Bool {
    for _ in 0..<2000 {
        if try await isTrue() { return true }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return false
}

/// The error that a call throws, `nil` if it throws none of this library's. (Swift 6.0 crashes on `#expect` with a
/// closure of typed throws.)
public func failure<T>(_ call: () async throws -> T) async -> HalfpiError? {
    do {
        _ = try await call()
        return nil
    } catch {
        return error as? HalfpiError
    }
}
