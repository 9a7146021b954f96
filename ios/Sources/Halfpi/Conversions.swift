// Between this module's types and the generated ones, which have C's integers and another idea of names.
internal import HalfpiFFI

/// Calls the library and throws this module's errors only.
func rethrowing<T>(_ call: () throws -> T) throws(HalfpiError) -> T {
    do {
        return try call()
    } catch {
        throw HalfpiError(error)
    }
}

/// An option as the integer that the library takes.
func narrowed(_ name: String, _ value: Int) throws(HalfpiError) -> UInt32 {
    guard let narrow = UInt32(exactly: value) else {
        throw .invalidOption(name: name, detail: "\(value) is not from 0 to \(UInt32.max)")
    }
    return narrow
}

private func narrowed(_ name: String, _ value: Int?) throws(HalfpiError) -> UInt32? {
    if let value { try narrowed(name, value) as UInt32 } else { nil }
}

extension HalfpiError {
    init(_ error: any Error) {
        switch error {
        case let error as HalfpiError: self = error
        case let error as HalfpiFFI.HalfpiError: self.init(error)
        // uniffi's own: Rust panicked, or the two sides are of different versions.
        default: self = .internal(detail: String(describing: error))
        }
    }

    init(_ error: HalfpiFFI.HalfpiError) {
        self = switch error {
        case .Io(let path, let detail): .io(path: path, detail: detail)
        case .ModelFile(let path, let detail): .modelFile(path: path, detail: detail)
        case .Archive(let path, let detail): .archive(path: path, detail: detail)
        case .Unsupported(let detail): .unsupported(detail: detail)
        case .Backend(let name, let available): .backend(name: name, available: available)
        case .MemoryBudget(let needed, let budget, let detail):
            .memoryBudget(neededBytes: needed, budgetBytes: budget, detail: detail)
        case .OutOfMemory(let bytes, let detail): .outOfMemory(bytes: bytes, detail: detail)
        case .ContextOverflow(let needed, let length): .contextOverflow(needed: needed, contextLength: length)
        case .InvalidOption(let name, let detail): .invalidOption(name: name, detail: detail)
        case .Schema(let detail): .schema(detail: detail)
        case .Template(let detail): .template(detail: detail)
        case .SavedState(let path, let detail): .savedState(path: path, detail: detail)
        case .SessionBusy: .sessionBusy
        case .Closed: .closed
        case .Cancelled: .cancelled
        case .Callback(let detail): .callback(detail: detail)
        case .Internal(let detail): .internal(detail: detail)
        }
    }
}

extension ModelSource {
    var ffi: HalfpiFFI.ModelSource {
        switch self {
        case .path(let path): .path(path: path)
        case .fileDescriptor(let fd, let offset, let length): .fileDescriptor(fd: fd, offset: offset, length: length)
        }
    }
}

extension ModelInfo {
    init(_ info: HalfpiFFI.ModelInfo) {
        self.init(
            name: info.name,
            architecture: info.architecture,
            parameters: info.parameters,
            contextLength: Int(clamping: info.contextLength),
            vocabularySize: Int(clamping: info.vocabSize),
            layers: Int(clamping: info.layers),
            fileBytes: info.fileBytes,
            bitsPerWeight: info.bitsPerWeight,
            license: info.license,
            hasChatTemplate: info.hasChatTemplate,
            supportsTools: info.supportsTools,
            supportsThinking: info.supportsThinking
        )
    }
}

extension UnpackedModel {
    init(_ model: HalfpiFFI.UnpackedModel) {
        self.init(fileBytes: model.fileBytes, archiveBytes: model.archiveBytes, sha256: model.sha256)
    }
}

extension MemoryNeeded {
    init(_ memory: HalfpiFFI.MemoryNeeded) {
        self.init(
            weightsBytes: memory.weightsBytes,
            heapBytes: memory.heapBytes,
            sessionBytes: memory.sessionBytes,
            totalBytes: memory.totalBytes
        )
    }
}

extension MemoryReport {
    init(_ report: HalfpiFFI.MemoryReport) {
        self.init(
            fileBytes: report.fileBytes,
            weightsHeapBytes: report.weightsHeapBytes,
            sessionsBytes: report.sessionsBytes,
            sessions: report.sessions.map { session in
                SessionReport(
                    bytes: session.bytes,
                    cachedTokens: Int(clamping: session.cachedTokens),
                    cachedBytes: session.cachedBytes,
                    isBusy: session.isBusy
                )
            },
            budgetBytes: report.budgetBytes,
            residentBytes: report.residentBytes
        )
    }
}

extension TrimLevel {
    var ffi: HalfpiFFI.TrimLevel {
        switch self {
        case .moderate: .moderate
        case .critical: .critical
        }
    }
}

extension PowerMode {
    var ffi: HalfpiFFI.PowerMode {
        switch self {
        case .full: .full
        case .reduced: .reduced
        case .paused: .paused
        }
    }

    init(_ mode: HalfpiFFI.PowerMode) {
        self = switch mode {
        case .full: .full
        case .reduced: .reduced
        case .paused: .paused
        }
    }
}

extension EngineConfig {
    func ffi() throws(HalfpiError) -> HalfpiFFI.EngineConfig {
        HalfpiFFI.EngineConfig(
            threads: try narrowed("threads", threads),
            backend: backend,
            exact: exact,
            prefillChunk: try narrowed("prefillChunk", prefillChunk),
            memoryBudgetBytes: memoryBudgetBytes,
            adapter: adapter?.ffi
        )
    }
}

extension SessionConfig {
    func ffi() throws(HalfpiError) -> HalfpiFFI.SessionConfig {
        HalfpiFFI.SessionConfig(
            system: system,
            contextLength: try narrowed("contextLength", contextLength),
            kvPrecision: kvPrecision == .int8 ? .int8 : .f16,
            overflow: overflow.ffi,
            tools: tools.map(\.ffi),
            thinking: thinking
        )
    }
}

extension ContextOverflow {
    fileprivate var ffi: HalfpiFFI.Overflow {
        switch self {
        case .slide: .slide
        case .error: .error
        case .stop: .stop
        }
    }
}

extension GenerationOptions {
    func ffi() throws(HalfpiError) -> HalfpiFFI.GenerationOptions {
        HalfpiFFI.GenerationOptions(
            maxTokens: try narrowed("maxTokens", maxTokens),
            temperature: temperature,
            topK: try narrowed("topK", topK),
            topP: topP,
            minP: minP,
            repetitionPenalty: repetitionPenalty,
            frequencyPenalty: frequencyPenalty,
            presencePenalty: presencePenalty,
            penaltyLastN: try narrowed("penaltyLastN", penaltyLastN),
            seed: seed,
            stop: stop,
            jsonSchema: jsonSchema
        )
    }
}

extension ChatMessage {
    var ffi: HalfpiFFI.ChatMessage {
        let role: HalfpiFFI.ChatRole = switch role {
        case .system: .system
        case .user: .user
        case .assistant: .assistant
        case .tool: .tool
        }
        return HalfpiFFI.ChatMessage(
            role: role,
            content: content,
            thinking: thinking,
            toolCalls: toolCalls.map { HalfpiFFI.ToolCall(name: $0.name, argumentsJson: $0.argumentsJSON) }
        )
    }

    init(_ message: HalfpiFFI.ChatMessage) {
        let role: Role = switch message.role {
        case .system: .system
        case .user: .user
        case .assistant: .assistant
        case .tool: .tool
        }
        self.init(
            role: role,
            content: message.content,
            thinking: message.thinking,
            toolCalls: message.toolCalls.map(ToolCall.init)
        )
    }
}

extension ToolCall {
    init(_ call: HalfpiFFI.ToolCall) {
        self.init(name: call.name, argumentsJSON: call.argumentsJson)
    }
}

extension ToolDeclaration {
    fileprivate var ffi: HalfpiFFI.ToolDeclaration {
        HalfpiFFI.ToolDeclaration(
            name: name,
            description: description,
            parametersJsonSchema: parametersJSONSchema
        )
    }
}

extension Answer {
    init(_ answer: HalfpiFFI.Answer) {
        self.init(
            text: answer.text,
            thinking: answer.thinking,
            toolCalls: answer.toolCalls.map(ToolCall.init),
            finish: FinishReason(answer.finish),
            usage: Usage(answer.usage)
        )
    }
}

extension FinishReason {
    fileprivate init(_ reason: HalfpiFFI.FinishReason) {
        self = switch reason {
        case .endOfTurn: .endOfTurn
        case .toolCalls: .toolCalls
        case .stopString: .stopString
        case .maxTokens: .maxTokens
        case .contextFull: .contextFull
        case .cancelled: .cancelled
        }
    }
}

extension Usage {
    fileprivate init(_ usage: HalfpiFFI.Usage) {
        self.init(
            promptTokens: Int(clamping: usage.promptTokens),
            cachedTokens: Int(clamping: usage.cachedTokens),
            prefillTokens: Int(clamping: usage.prefillTokens),
            generatedTokens: Int(clamping: usage.generatedTokens),
            prefillTime: .seconds(usage.prefillSeconds),
            timeToFirstToken: .seconds(usage.timeToFirstTokenSeconds),
            decodeTime: .seconds(usage.decodeSeconds),
            seed: usage.seed
        )
    }
}

extension LogLevel {
    var ffi: HalfpiFFI.LogLevel {
        switch self {
        case .error: .error
        case .warn: .warn
        case .info: .info
        case .debug: .debug
        case .trace: .trace
        }
    }

    init(_ level: HalfpiFFI.LogLevel) {
        self = switch level {
        case .error: .error
        case .warn: .warn
        case .info: .info
        case .debug: .debug
        case .trace: .trace
        }
    }
}
