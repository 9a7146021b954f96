internal import HalfpiFFI

/// A conversation on an ``Engine``.
///
/// It remembers what was said and what the model has read of it, so that a next turn only reads what is new. One answer
/// at a time: a second one meanwhile throws ``HalfpiError/sessionBusy`` and does not disturb the first.
public actor Session {
    private nonisolated let ffi: HalfpiFFI.Session
    private nonisolated let executor = ThreadExecutor("halfpi.session")
    public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    init(_ ffi: HalfpiFFI.Session) {
        self.ffi = ffi
        contextLength = Int(ffi.contextLength())
    }

    /// Tokens of prompt and answer that fit together.
    public nonisolated let contextLength: Int

    /// Says something to the model and streams its answer. Both become part of the conversation.
    ///
    /// The generation begins with this call, not with the first read of the stream.
    public nonisolated func stream(
        _ prompt: String,
        options: GenerationOptions = GenerationOptions()
    ) -> GenerationStream {
        Halfpi.stream { try ffi.generate(prompt: prompt, options: options.ffi(), listener: $0) }
    }

    /// Streams the answer to a conversation that the app keeps itself. What it has in common with the last one is not
    /// read again. The session's own conversation stays as it is.
    public nonisolated func stream(
        messages: [ChatMessage],
        options: GenerationOptions = GenerationOptions()
    ) -> GenerationStream {
        Halfpi.stream { try ffi.respond(messages: messages.map(\.ffi), options: options.ffi(), listener: $0) }
    }

    /// Gives the model what the tools returned that it called, in the order of its calls, and streams how it goes on.
    public nonisolated func stream(
        toolResults: [String],
        options: GenerationOptions = GenerationOptions()
    ) -> GenerationStream {
        Halfpi.stream { try ffi.replyToolResults(results: toolResults, options: options.ffi(), listener: $0) }
    }

    /// Says something to the model and waits for the whole answer.
    ///
    /// Cancelling the task cancels the generation and throws ``HalfpiError/cancelled``.
    public nonisolated func respond(
        to prompt: String,
        options: GenerationOptions = GenerationOptions()
    ) async throws(HalfpiError) -> Answer {
        try await stream(prompt, options: options).answer()
    }

    /// Gives the model what the tools returned that it called, and waits for the whole answer.
    public nonisolated func respond(
        toolResults: [String],
        options: GenerationOptions = GenerationOptions()
    ) async throws(HalfpiError) -> Answer {
        try await stream(toolResults: toolResults, options: options).answer()
    }

    /// Reads what the next prompt will begin with now, so that the next answer comes sooner.
    public func prewarm() throws(HalfpiError) {
        try rethrowing { try ffi.prewarm() }
    }

    /// Everything said, the system message first.
    public var messages: [ChatMessage] {
        get throws(HalfpiError) { try rethrowing { try ffi.messages() }.map(ChatMessage.init) }
    }

    /// Replaces what was said, for instance with a stored conversation.
    public func setMessages(_ messages: [ChatMessage]) throws(HalfpiError) {
        try rethrowing { try ffi.setMessages(messages: messages.map(\.ffi)) }
    }

    /// Starts the conversation anew, with the same system message.
    public func reset() throws(HalfpiError) {
        try rethrowing { try ffi.reset() }
    }

    /// Tokens of a text.
    public func tokenCount(_ text: String) throws(HalfpiError) -> Int {
        try Int(rethrowing { try ffi.tokenCount(text: text) })
    }

    /// Writes the conversation and what the model has read of it to a file, which is there whole or not at all. What was
    /// said can be read in it.
    public func save(to path: String) throws(HalfpiError) {
        try rethrowing { try ffi.save(path: path) }
    }

    /// Takes up a conversation that ``save(to:)`` wrote with the same model file; nothing is read again. A file that is
    /// damaged or another model's is refused with ``HalfpiError/savedState(path:detail:)`` and changes nothing.
    public func restore(from path: String) throws(HalfpiError) {
        try rethrowing { try ffi.restore(path: path) }
    }

    /// Another session that goes on from here, with the same conversation: a branch to come back to.
    public func fork() throws(HalfpiError) -> Session {
        try Session(rethrowing { try ffi.fork() })
    }

    /// Cancels what is generated, or read by ``prewarm()``, and gives the session's memory back. Afterwards every call
    /// throws ``HalfpiError/closed``. Letting go of the session does the same.
    public nonisolated func close() async {
        // Not on the actor's thread, which may be waiting for what is cancelled here.
        _ = await blocking { ffi.close() }
    }
}
