use crate::tools::ToolCall;
use std::ops::ControlFlow;

/// Takes an answer as it is made. `Break` cancels the answer and is the listener's last call.
///
/// A closure is a listener that wants the text alone:
/// `session.send("Hi", &options, &mut |text: &str| ControlFlow::Continue(()))`.
pub trait Listener {
    /// The next piece of the answer's text: whole characters, never empty.
    fn on_text(&mut self, text: &str) -> ControlFlow<()>;

    /// The next piece of what the model thinks before it answers; as [`on_text`](Self::on_text).
    fn on_thinking(&mut self, text: &str) -> ControlFlow<()> {
        let _ = text;
        ControlFlow::Continue(())
    }

    /// The model calls a tool.
    fn on_tool_call(&mut self, call: &ToolCall) -> ControlFlow<()> {
        let _ = call;
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(&str) -> ControlFlow<()>> Listener for F {
    fn on_text(&mut self, text: &str) -> ControlFlow<()> {
        self(text)
    }
}
