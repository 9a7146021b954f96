//! `halfpi train`: trains a model and packs it.

mod args;
mod page;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use halfpi_kernels::format::Float;
use halfpi_trainer::TrainError;
use halfpi_trainer::output::{write_codes, write_hub};
use halfpi_trainer::parallel::{Collective, Options, ParallelError, World, connect, spawn_local};
use halfpi_trainer::run::{CHECKPOINT, CacheOptions, Progress, RunOptions, RunReport, Trained, cache_teacher, run};
use halfpi_trainer::tensor::{AutodiffBackend, Cpu, TransientBackend};

pub use self::args::Args;
use self::args::Device;
use crate::interrupt::Interrupt;
use crate::output::{Outcome, bytes, count, print, print_json};
use crate::progress;

pub fn train(args: &Args) -> Outcome {
    let options = args.options()?;
    let wants_nccl = args.collective == Some(args::Collective::Nccl);
    match args.device {
        Device::Cpu if wants_nccl => return Err("NCCL adds up what GPUs have computed: --device cuda".into()),
        Device::Cuda if cfg!(not(feature = "cuda")) => {
            return Err("this halfpi cannot use CUDA: build it with --features cuda".into());
        }
        _ => {}
    }
    if args.output.join(CHECKPOINT).exists() && !args.resume {
        let directory = args.output.display();
        return Err(format!("{directory} holds a run: go on with --resume, or choose another directory").into());
    }
    if let Some(processes) = args.processes {
        #[cfg(feature = "cuda")]
        if args.device == Device::Cuda {
            halfpi_trainer::parallel::require_gpus(processes.into(), args.sums())?;
        }
        return launch(processes.into());
    }
    let world = World::from_environment()?;
    let identity = serde_json::to_vec(&options)?;
    let mut patience = Options::new(&identity);
    patience.join_timeout = Duration::from_secs(args.join_timeout);
    patience.stall_timeout = Duration::from_secs(args.stall_timeout);
    // Before anything is read: whoever cannot take part says so at once.
    match args.device {
        Device::Cpu => {
            let mut together = connect(&world, &patience)?;
            train_on::<Cpu>(args, &options, &Default::default(), &mut *together)
        }
        #[cfg(feature = "cuda")]
        Device::Cuda => {
            let (mut together, gpu) = halfpi_trainer::parallel::connect_gpus(&world, &patience, args.sums())?;
            let device = halfpi_trainer::tensor::cuda_device(gpu)?;
            train_on::<halfpi_trainer::tensor::Cuda>(args, &options, &device, &mut *together)
        }
        // Refused above.
        #[cfg(not(feature = "cuda"))]
        Device::Cuda => Ok(()),
    }
}

/// Runs this command in several processes.
fn launch(processes: usize) -> Outcome {
    let interrupt = Interrupt::noted()?;
    let program = std::env::current_exe()?;
    match spawn_local(processes, program, args::of_worker(), &|| interrupt.go_on().is_break()) {
        // Rank 0 has said itself how it ended.
        Err(ParallelError::Local { rank: 0, code, .. }) if code < 128 => std::process::exit(code),
        ended => Ok(ended?),
    }
}

fn train_on<B: TransientBackend>(
    args: &Args,
    options: &RunOptions,
    device: &B::Device,
    together: &mut dyn Collective,
) -> Outcome {
    let is_first = together.rank() == 0;
    fs::create_dir_all(&args.output).map_err(|error| format!("{}: {error}", args.output.display()))?;
    if is_first {
        let learnt = args.learn_tokenizer();
        learnt.inspect_err(|error| together.abort(&error.to_string()))?;
    }
    together.barrier()?;
    let interrupt = Interrupt::noted()?;
    let begun = Instant::now();
    if let Some(cache) = args.cache() {
        let is_complete = let_predict::<B>(args, options, &cache, device, together, (&interrupt, begun))?;
        if !is_complete || args.cache_only {
            return Ok(());
        }
    }
    let bar = progress::bar(options.schedule.updates, "updates");
    if !is_first {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let mut is_late = false;
    let mut held_out = None;
    let trained = run::<B>(options, &args.output, device, together, &mut |progress| {
        match progress {
            Progress::Begins { updates, parameters } => {
                bar.set_position(updates);
                bar.println(format!("{} parameters", count(parameters)));
            }
            Progress::Update { updates, update } => {
                bar.set_position(updates);
                let held_out = held_out.map_or(String::new(), |nll: f32| format!(", held out {nll:.3}"));
                bar.set_message(format!("loss {:.3}{held_out}, rate {:.1e}", update.loss, update.rate));
            }
            Progress::HeldOut { updates, nll } => {
                held_out = Some(nll);
                bar.println(format!(
                    "{updates:>8} updates: held-out text {nll:.4} nats a token, perplexity {:.2}",
                    nll.exp()
                ));
            }
            Progress::Checkpoint { .. } => {}
        }
        // Clocks differ, so only one counts.
        is_late = is_first && args.is_late(begun);
        match is_late {
            true => ControlFlow::Break(()),
            false => interrupt.go_on(),
        }
    });
    bar.finish_and_clear();
    let trained = match trained {
        // Rank 0 speaks for all.
        Err(TrainError::Cancelled) if !is_first => return Ok(()),
        Err(TrainError::Cancelled) => {
            let checkpoint = args.output.join(CHECKPOINT);
            let message = format!("stopped; {} goes on from here with --resume", checkpoint.display());
            if !is_late {
                return Err(message.into());
            }
            // As was asked for.
            eprintln!("{message}");
            return Ok(());
        }
        trained => trained?,
    };
    if !is_first {
        return Ok(());
    }
    let model = write(args, &trained)?;
    let report = serde_json::to_vec_pretty(&trained.report)?;
    let page = page::page(&trained.report, fs::metadata(&model)?.len())?;
    for (name, contents) in [("run.json", report), ("index.html", page.into_bytes())] {
        let path = args.output.join(name);
        fs::write(&path, contents).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if args.json {
        return print_json(&trained.report);
    }
    print(&text(&trained.report, &model)?)
}

/// Writes what was trained, and returns the file that runs it.
fn write<B: AutodiffBackend>(args: &Args, trained: &Trained<B>) -> Outcome<PathBuf> {
    let (model, hub) = (args.output.join("model.gguf"), args.output.join("hub"));
    let blueprint = &trained.blueprint;
    if trained.report.options.lora.is_some() {
        let adapter = args.output.join("adapter.gguf");
        trained.write_adapter(&adapter)?;
        let Some(format) = args.merge()? else {
            return Ok(adapter);
        };
        // First what loses nothing, because the rest may be refused.
        if args.hub {
            write_hub(&trained.merged()?, blueprint, Float::F32, args.original(), &hub)?;
        }
        let merged = trained.write_merged(format, &model).map_err(|error| {
            let adapter = adapter.display();
            format!("{adapter} is written, but could not be merged: {error}; --merge=q8 loses little")
        })?;
        let packed = &merged.packed;
        let noise = packed.sqnr_db.map_or("exact".into(), |sqnr| format!("{sqnr:.2} dB"));
        eprintln!(
            "merged: signal to noise {noise}, NMSE {:.2e}, {:.0}% of what the adapter changes",
            packed.nmse,
            100.0 * merged.kept
        );
        let path = args.output.join("merge.json");
        let report = serde_json::to_vec_pretty(&merged)?;
        fs::write(&path, report).map_err(|error| format!("{}: {error}", path.display()))?;
    } else {
        trained.write_model(&model)?;
        if args.hub {
            write_hub(trained, blueprint, Float::F16, args.original(), &hub)?;
        }
    }
    if args.codes {
        write_codes(&model, &args.output.join("codes.safetensors"))?;
    }
    Ok(model)
}

/// Makes the predictions that are missing. `false` if the time was over before.
fn let_predict<B: AutodiffBackend>(
    args: &Args,
    options: &RunOptions,
    cache: &CacheOptions,
    device: &B::Device,
    together: &mut dyn Collective,
    (interrupt, begun): (&Interrupt, Instant),
) -> Outcome<bool> {
    let mut is_late = false;
    let is_first = together.rank() == 0;
    let bar = progress::bar(0, "sequences predicted");
    if !is_first {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let result = cache_teacher::<B>(options, cache, device, together, &mut |progress| {
        bar.set_length(progress.of);
        bar.set_position(progress.done);
        is_late = is_first && args.is_late(begun);
        match is_late {
            true => ControlFlow::Break(()),
            false => interrupt.go_on(),
        }
    });
    bar.finish_and_clear();
    match result {
        Err(TrainError::Cancelled) if !is_first => Ok(false),
        Err(TrainError::Cancelled) => {
            let directory = cache.directory.display();
            let message =
                format!("stopped; what the teacher predicted is in {directory}, and the same command goes on");
            if !is_late {
                return Err(message.into());
            }
            eprintln!("{message}");
            Ok(false)
        }
        result => Ok(result.map(|()| true)?),
    }
}

/// What came of the run, in a few lines.
fn text(report: &RunReport, model: &Path) -> Outcome<String> {
    let size = fs::metadata(model)?.len();
    let held_out = match (report.held_out.first(), report.held_out.last()) {
        (Some((_, first)), Some((_, last))) => format!("held-out text {first:.4} -> {last:.4} nats a token\n"),
        _ => String::new(),
    };
    Ok(format!(
        "{held_out}{} tokens in {} s, {:.0} tokens/s\n{}{}: {}\n",
        count(report.tokens),
        Duration::from_secs_f64(report.seconds).as_secs(),
        report.tokens_per_second,
        report.data,
        model.display(),
        bytes(size),
    ))
}
