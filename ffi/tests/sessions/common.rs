//! A model file, and a listener that remembers.

use halfpi::pack::synthetic::SyntheticModel;
use halfpi::transformer::Architecture;
use halfpi_ffi::{
    Answer, CallbackError, Engine, EngineConfig, GenerationListener, GenerationOptions, HalfpiError, ModelSource,
    ToolCall,
};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

/// A file, a random model's mostly, which goes away with this value.
pub struct TestFile(PathBuf);

impl TestFile {
    pub fn tiny() -> Self {
        Self::with_context(512)
    }

    /// A model of this context.
    pub fn with_context(length: usize) -> Self {
        let file = Self::at("model");
        let mut model = SyntheticModel::tiny(Architecture::Llama);
        model.config.context_length = length;
        model.save(&file.0).unwrap();
        file
    }

    /// A path for the test to write to.
    pub fn at(name: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("halfpi-ffi-{}-{number}-{name}", std::process::id());
        TestFile(std::env::temp_dir().join(name))
    }

    pub fn path(&self) -> String {
        self.0.to_str().unwrap().to_owned()
    }

    pub fn source(&self) -> ModelSource {
        ModelSource::Path { path: self.path() }
    }

    pub fn load(&self) -> Arc<Engine> {
        let config = EngineConfig {
            threads: Some(1),
            ..EngineConfig::default()
        };
        Engine::load(self.source(), config, None).unwrap()
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a listener was told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Text(String),
    Finished(Answer),
    Failed(HalfpiError),
}

type Hook = Box<dyn Fn(&Told) -> Result<(), CallbackError> + Send + Sync>;

/// Remembers what it is told, and does something about it.
pub struct Ears {
    told: Mutex<Vec<Told>>,
    hook: Hook,
}

impl Ears {
    pub fn new() -> Arc<Self> {
        Self::with(|_| Ok(()))
    }

    pub fn with(hook: impl Fn(&Told) -> Result<(), CallbackError> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Ears {
            told: Mutex::default(),
            hook: Box::new(hook),
        })
    }

    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// All text so far.
    pub fn text(&self) -> String {
        let told = self.told();
        let text = told.iter().map(|told| match told {
            Told::Text(text) => text.as_str(),
            _ => "",
        });
        text.collect()
    }

    /// Every last call, of which there is to be one.
    pub fn ends(&self) -> Vec<Told> {
        let mut told = self.told();
        told.retain(|told| !matches!(told, Told::Text(_)));
        told
    }

    fn hear(&self, told: Told) -> Result<(), CallbackError> {
        self.told.lock().unwrap().push(told.clone());
        (self.hook)(&told)
    }
}

impl GenerationListener for Ears {
    fn on_text(&self, text: String) -> Result<(), CallbackError> {
        self.hear(Told::Text(text))
    }

    fn on_thinking(&self, text: String) -> Result<(), CallbackError> {
        panic!("a random model thinks: {text}");
    }

    fn on_tool_call(&self, call: ToolCall) -> Result<(), CallbackError> {
        panic!("a random model calls a tool: {call:?}");
    }

    fn on_finished(&self, answer: Answer) -> Result<(), CallbackError> {
        self.hear(Told::Finished(answer))
    }

    fn on_failed(&self, error: HalfpiError) -> Result<(), CallbackError> {
        self.hear(Told::Failed(error))
    }
}

/// So many tokens, the same ones every time.
pub fn tokens(max_tokens: u32) -> GenerationOptions {
    GenerationOptions {
        max_tokens: Some(max_tokens),
        temperature: 1.5,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        seed: Some(7),
        ..GenerationOptions::default()
    }
}

/// Holds the engine's thread in its first call until it is let go.
pub struct Gate {
    arrived: mpsc::Sender<()>,
    go: Mutex<mpsc::Receiver<()>>,
}

/// The test's side of a [`Gate`].
pub struct Keeper {
    arrived: mpsc::Receiver<()>,
    go: mpsc::Sender<()>,
}

impl Gate {
    pub fn new() -> (Self, Keeper) {
        let (arrived, arrival) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        let gate = Gate {
            arrived,
            go: Mutex::new(gone),
        };
        (gate, Keeper { arrived: arrival, go })
    }

    /// Waits; from the moment that the keeper opens, no longer.
    pub fn pass(&self) {
        let _ = self.arrived.send(());
        let _ = self.go.lock().unwrap().recv();
    }
}

impl Keeper {
    /// Waits until somebody stands at the gate.
    pub fn wait(&self) {
        self.arrived.recv().unwrap();
    }

    /// Lets everybody through.
    pub fn open(self) {
        drop(self.go);
    }
}

/// A listener that stands at a gate with its first piece of text.
pub fn gated() -> (Arc<Ears>, Keeper) {
    let (gate, keeper) = Gate::new();
    let ears = Ears::with(move |told| {
        if matches!(told, Told::Text(_)) {
            gate.pass();
        }
        Ok(())
    });
    (ears, keeper)
}
