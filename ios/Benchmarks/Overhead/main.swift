// What benches/swift.py asks: answers the prompt twice and prints the second answer as `halfpi chat --json` does.
// Arguments: MODEL THREADS TOKENS PROMPT.
import Foundation
import Halfpi

let arguments = CommandLine.arguments
guard arguments.count == 5, let threads = Int(arguments[2]), let tokens = Int(arguments[3]) else {
    fatalError("arguments: MODEL THREADS TOKENS PROMPT")
}
let engine = try await Engine.load(.path(arguments[1]), config: EngineConfig(threads: threads))
let session = try await engine.session()
let options = GenerationOptions(maxTokens: tokens, temperature: 0, repetitionPenalty: 1)

var text = ""
var speed = 0.0
for _ in 0..<2 {
    try await session.reset()
    text = ""
    for try await event in session.stream(arguments[4], options: options) {
        switch event {
        case .text(let piece): text += piece
        case .finished(let answer): speed = answer.usage.tokensPerSecond ?? 0
        case .thinking, .toolCall: break
        }
    }
}
let answer: [String: Any] = ["text": text, "decode_tokens_per_second": speed]
print(String(decoding: try JSONSerialization.data(withJSONObject: answer), as: UTF8.self))
