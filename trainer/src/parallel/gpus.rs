//! Which GPU is whose, and how what they have computed is added up.

use super::{Collective, Nccl, Options, ParallelError, Single, Tcp, World};
use cudarc::driver::CudaContext;

/// How processes with GPUs add up what they have computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sums {
    /// NCCL, from GPU to GPU.
    #[default]
    Nccl,
    /// TCP, through the processors' memory: slower, in the order of ranks, and without NCCL.
    Tcp,
}

/// Meets the other ranks of this process's world, each of which has a GPU. Returns the number of this process's own, as
/// CUDA counts those that it shows to the process.
///
/// # Errors
///
/// [`ParallelError::Cuda`] without a driver or a GPU for this rank, which the others learn too; those of
/// [`Nccl::connect`] or [`Tcp::connect`].
pub fn connect_gpus(
    world: &World,
    options: &Options,
    sums: Sums,
) -> Result<(Box<dyn Collective>, usize), ParallelError> {
    if world.size == 1 {
        return Ok((Box::new(Single), gpu(world)?));
    }
    // First, so that the others learn of a rank without a GPU.
    let mut tcp = Tcp::connect(world, options)?;
    let gpu = gpu(world).inspect_err(|error| tcp.abort(&error.to_string()))?;
    Ok((
        match sums {
            Sums::Tcp => Box::new(tcp),
            Sums::Nccl => Box::new(Nccl::over(tcp, gpu, options)?),
        },
        gpu,
    ))
}

/// Whether so many processes of this machine can have a GPU each, for whoever is about to start them.
///
/// # Errors
///
/// [`ParallelError::Cuda`] and [`ParallelError::Nccl`] say what is missing.
pub fn require_gpus(processes: usize, sums: Sums) -> Result<(), ParallelError> {
    let found = count()?;
    if found < processes {
        let problem = format!("{processes} processes need a GPU each, and CUDA shows {found}");
        return Err(ParallelError::Cuda { problem });
    }
    match sums {
        Sums::Nccl if processes > 1 => Nccl::require(),
        _ => Ok(()),
    }
}

/// Whether CUDA can be used at all: what needs it may panic where it is not.
///
/// # Errors
///
/// [`ParallelError::Cuda`] says what is missing.
pub fn require_cuda() -> Result<(), ParallelError> {
    // SAFETY: this loads the library, which runs its initialiser: that of NVIDIA's own driver, by the name that every
    // CUDA program loads it by.
    if unsafe { cudarc::driver::sys::is_culib_present() } {
        return Ok(());
    }
    let problem = "there is no driver here (libcuda); train on processors, or install NVIDIA's driver".to_string();
    Err(ParallelError::Cuda { problem })
}

/// The GPUs that CUDA shows to this process.
fn count() -> Result<usize, ParallelError> {
    require_cuda()?;
    let count = CudaContext::device_count().map_err(|error| ParallelError::Cuda {
        problem: format!("{error:?}"),
    })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The GPU of this process: the one of its local rank, or the only one that its launcher lets it see.
fn gpu(world: &World) -> Result<usize, ParallelError> {
    match count()? {
        1 => Ok(0),
        count if world.local_rank < count => Ok(world.local_rank),
        count => Err(ParallelError::Cuda {
            problem: format!("local rank {} has no GPU: CUDA shows {count} to it", world.local_rank),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_gpu_there_is_an_error_and_no_panic() {
        match gpu(&World::alone()) {
            Ok(device) => assert_eq!(device, 0),
            Err(error) => assert!(error.to_string().starts_with("CUDA cannot be used: "), "{error}"),
        }
    }
}
