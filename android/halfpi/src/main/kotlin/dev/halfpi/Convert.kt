package dev.halfpi

import dev.halfpi.ffi.Answer as FfiAnswer
import dev.halfpi.ffi.ChatMessage as FfiMessage
import dev.halfpi.ffi.EngineConfig as FfiEngineConfig
import dev.halfpi.ffi.FinishReason as FfiFinishReason
import dev.halfpi.ffi.GenerationOptions as FfiOptions
import dev.halfpi.ffi.HalfpiException as FfiException
import dev.halfpi.ffi.KvPrecision as FfiKvPrecision
import dev.halfpi.ffi.LogLevel as FfiLogLevel
import dev.halfpi.ffi.MemoryNeeded as FfiMemoryNeeded
import dev.halfpi.ffi.MemoryReport as FfiMemoryReport
import dev.halfpi.ffi.ModelInfo as FfiModelInfo
import dev.halfpi.ffi.ModelSource as FfiSource
import dev.halfpi.ffi.Overflow as FfiOverflow
import dev.halfpi.ffi.ChatRole as FfiRole
import dev.halfpi.ffi.PowerMode as FfiPowerMode
import dev.halfpi.ffi.SessionConfig as FfiSessionConfig
import dev.halfpi.ffi.ToolCall as FfiToolCall
import dev.halfpi.ffi.ToolDeclaration as FfiTool
import dev.halfpi.ffi.TrimLevel as FfiTrimLevel
import dev.halfpi.ffi.UnpackedModel as FfiUnpackedModel
import dev.halfpi.ffi.Usage as FfiUsage

// Between the API's types and the generated ones: one function for each type and direction.

/** Kotlin's numbers have a sign, the library's have none. */
internal fun Int.unsigned(name: String): UInt =
    if (this >= 0) toUInt() else throw HalfpiException.InvalidOption(name, "$this is negative")

internal fun Long.unsigned(name: String): ULong =
    if (this >= 0) toULong() else throw HalfpiException.InvalidOption(name, "$this is negative")

/** Sizes and counts fit in a Long. */
private fun ULong.signed(): Long = toLong()

private fun ULong.count(): Int = toLong().coerceAtMost(Int.MAX_VALUE.toLong()).toInt()

internal fun ModelSource.toFfi(): FfiSource = when (this) {
    is ModelSource.Path -> FfiSource.Path(file.path)
    is ModelSource.Descriptor -> FfiSource.FileDescriptor(fd, offset.toULong(), length?.toULong())
}

internal fun EngineConfig.toFfi() = FfiEngineConfig(
    threads = threads?.unsigned("threads"),
    backend = backend,
    exact = exact,
    prefillChunk = prefillChunk.unsigned("prefill_chunk"),
    memoryBudgetBytes = memoryBudgetBytes?.unsigned("memory_budget_bytes"),
    adapter = adapter?.toFfi(),
)

internal fun SessionConfig.toFfi() = FfiSessionConfig(
    system = system,
    contextLength = contextLength?.unsigned("context_length"),
    kvPrecision = when (kvPrecision) {
        KvPrecision.F16 -> FfiKvPrecision.F16
        KvPrecision.Int8 -> FfiKvPrecision.INT8
    },
    overflow = when (overflow) {
        Overflow.Slide -> FfiOverflow.SLIDE
        Overflow.Error -> FfiOverflow.ERROR
        Overflow.Stop -> FfiOverflow.STOP
    },
    tools = tools.map { FfiTool(it.name, it.description, it.parametersJsonSchema) },
    thinking = thinking,
)

internal fun GenerationOptions.toFfi() = FfiOptions(
    maxTokens = maxTokens?.unsigned("max_tokens"),
    temperature = temperature,
    topK = topK.unsigned("top_k"),
    topP = topP,
    minP = minP,
    repetitionPenalty = repetitionPenalty,
    frequencyPenalty = frequencyPenalty,
    presencePenalty = presencePenalty,
    penaltyLastN = penaltyLastN.unsigned("penalty_last_n"),
    // All 64 bits are seed, the sign's too.
    seed = seed?.toULong(),
    stop = stop,
    jsonSchema = jsonSchema,
)

internal fun ChatMessage.toFfi() = FfiMessage(
    role = when (role) {
        Role.System -> FfiRole.SYSTEM
        Role.User -> FfiRole.USER
        Role.Assistant -> FfiRole.ASSISTANT
        Role.Tool -> FfiRole.TOOL
    },
    content = content,
    thinking = thinking,
    toolCalls = toolCalls.map { FfiToolCall(it.name, it.argumentsJson) },
)

internal fun FfiMessage.toApi() = ChatMessage(
    role = when (role) {
        FfiRole.SYSTEM -> Role.System
        FfiRole.USER -> Role.User
        FfiRole.ASSISTANT -> Role.Assistant
        FfiRole.TOOL -> Role.Tool
    },
    content = content,
    thinking = thinking,
    toolCalls = toolCalls.map { it.toApi() },
)

internal fun FfiToolCall.toApi() = ToolCall(name, argumentsJson)

internal fun FfiAnswer.toApi() = Answer(
    text = text,
    thinking = thinking,
    toolCalls = toolCalls.map { it.toApi() },
    finish = when (finish) {
        FfiFinishReason.END_OF_TURN -> FinishReason.EndOfTurn
        FfiFinishReason.TOOL_CALLS -> FinishReason.ToolCalls
        FfiFinishReason.STOP_STRING -> FinishReason.StopString
        FfiFinishReason.MAX_TOKENS -> FinishReason.MaxTokens
        FfiFinishReason.CONTEXT_FULL -> FinishReason.ContextFull
        FfiFinishReason.CANCELLED -> FinishReason.Cancelled
    },
    usage = usage.toApi(),
)

private fun FfiUsage.toApi() = Usage(
    promptTokens = promptTokens.count(),
    cachedTokens = cachedTokens.count(),
    prefillTokens = prefillTokens.count(),
    generatedTokens = generatedTokens.count(),
    prefillSeconds = prefillSeconds,
    timeToFirstTokenSeconds = timeToFirstTokenSeconds,
    decodeSeconds = decodeSeconds,
    seed = seed.toLong(),
)

internal fun FfiModelInfo.toApi() = ModelInfo(
    name = name,
    architecture = architecture,
    parameters = parameters.signed(),
    contextLength = contextLength.count(),
    vocabularySize = vocabSize.count(),
    layers = layers.count(),
    fileBytes = fileBytes.signed(),
    bitsPerWeight = bitsPerWeight,
    license = license,
    hasChatTemplate = hasChatTemplate,
    supportsTools = supportsTools,
    supportsThinking = supportsThinking,
)

internal fun FfiUnpackedModel.toApi() = UnpackedModel(
    fileBytes = fileBytes.signed(),
    archiveBytes = archiveBytes.signed(),
    sha256 = sha256,
)

internal fun FfiMemoryNeeded.toApi() = MemoryNeeded(
    weights = weightsBytes.signed(),
    heap = heapBytes.signed(),
    session = sessionBytes.signed(),
    total = totalBytes.signed(),
)

internal fun FfiMemoryReport.toApi() = MemoryReport(
    file = fileBytes.signed(),
    weightsHeap = weightsHeapBytes.signed(),
    sessions = sessionsBytes.signed(),
    eachSession = sessions.map {
        SessionReport(it.bytes.signed(), it.cachedTokens.count(), it.cachedBytes.signed(), it.isBusy)
    },
    budget = budgetBytes?.signed(),
    resident = residentBytes?.signed(),
)

internal fun PowerMode.toFfi(): FfiPowerMode = when (this) {
    PowerMode.Full -> FfiPowerMode.FULL
    PowerMode.Reduced -> FfiPowerMode.REDUCED
    PowerMode.Paused -> FfiPowerMode.PAUSED
}

internal fun FfiPowerMode.toApi(): PowerMode = when (this) {
    FfiPowerMode.FULL -> PowerMode.Full
    FfiPowerMode.REDUCED -> PowerMode.Reduced
    FfiPowerMode.PAUSED -> PowerMode.Paused
}

internal fun TrimLevel.toFfi(): FfiTrimLevel = when (this) {
    TrimLevel.Moderate -> FfiTrimLevel.MODERATE
    TrimLevel.Critical -> FfiTrimLevel.CRITICAL
}

internal fun LogLevel.toFfi(): FfiLogLevel = when (this) {
    LogLevel.Error -> FfiLogLevel.ERROR
    LogLevel.Warn -> FfiLogLevel.WARN
    LogLevel.Info -> FfiLogLevel.INFO
    LogLevel.Debug -> FfiLogLevel.DEBUG
    LogLevel.Trace -> FfiLogLevel.TRACE
}

internal fun FfiLogLevel.toApi(): LogLevel = when (this) {
    FfiLogLevel.ERROR -> LogLevel.Error
    FfiLogLevel.WARN -> LogLevel.Warn
    FfiLogLevel.INFO -> LogLevel.Info
    FfiLogLevel.DEBUG -> LogLevel.Debug
    FfiLogLevel.TRACE -> LogLevel.Trace
}

internal fun FfiException.toApi(): HalfpiException = when (this) {
    is FfiException.Io -> HalfpiException.Io(path, detail)
    is FfiException.ModelFile -> HalfpiException.ModelFile(path, detail)
    is FfiException.Archive -> HalfpiException.Archive(path, detail)
    is FfiException.Unsupported -> HalfpiException.Unsupported(detail)
    is FfiException.Backend -> HalfpiException.Backend(name, available)
    is FfiException.MemoryBudget -> HalfpiException.MemoryBudget(neededBytes.signed(), budgetBytes.signed(), detail)
    is FfiException.OutOfMemory -> HalfpiException.OutOfMemory(bytes.signed(), detail)
    is FfiException.ContextOverflow -> HalfpiException.ContextOverflow(needed.count(), contextLength.count())
    is FfiException.InvalidOption -> HalfpiException.InvalidOption(name, detail)
    is FfiException.Schema -> HalfpiException.Schema(detail)
    is FfiException.Template -> HalfpiException.Template(detail)
    is FfiException.SavedState -> HalfpiException.SavedState(path, detail)
    is FfiException.SessionBusy -> HalfpiException.SessionBusy()
    is FfiException.Closed -> HalfpiException.Closed()
    is FfiException.Cancelled -> HalfpiException.Cancelled()
    is FfiException.Callback -> HalfpiException.Callback(detail)
    is FfiException.Internal -> HalfpiException.Internal(detail)
}
