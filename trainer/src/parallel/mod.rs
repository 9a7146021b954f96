//! Data-parallel training: the same program in several processes, on one machine or many.
//!
//! Every process finds its place from what its launcher put in the environment ([`World::from_environment`]), the
//! processes find each other over TCP ([`connect`]), and then they add up what each of them computed on its share of
//! the data ([`Collective`]). Only slices of numbers pass through here: nothing knows what a tensor is.
//!
//! Two promises hold whatever the network's timing:
//!
//! - **One order.** A float sum is `((rank 0 + rank 1) + rank 2) + …` for every element, computed once and passed on,
//!   so that all ranks get the same bits, and the same as one process that adds up the same shares one after another.
//!   Integers are exact: an overflow is an error.
//! - **Nobody waits for the dead.** A process that dies, hangs, falls silent or asks for another operation than the
//!   rest stops the job on every rank, with an error that names it.
//!
//! ```no_run
//! use halfpi_trainer::parallel::{Options, World, connect};
//!
//! let world = World::from_environment()?;
//! let mut ranks = connect(&world, &Options::new(b"what must be the same everywhere"))?;
//! let mut gradients = vec![0.5; 1000];
//! ranks.all_reduce_sum_f32(&mut gradients)?;
//! # Ok::<(), halfpi_trainer::parallel::ParallelError>(())
//! ```

mod chain;
mod collective;
mod door;
mod error;
#[cfg(feature = "nccl")]
mod gpus;
mod launch;
mod monitor;
#[cfg(feature = "nccl")]
mod nccl;
mod rendezvous;
mod single;
mod tcp;
mod wire;
mod world;

pub use collective::{Collective, MAX_GATHER};
pub use error::ParallelError;
#[cfg(feature = "nccl")]
pub use gpus::{Sums, connect_gpus, require_cuda, require_gpus};
pub use launch::spawn_local;
#[cfg(feature = "nccl")]
pub use nccl::Nccl;
pub use rendezvous::Options;
pub use single::Single;
pub use tcp::Tcp;
pub use world::{Launcher, Master, World};

/// Meets the other ranks of this process's world: [`Single`] in a world of one, else [`Tcp`].
///
/// # Errors
///
/// Those of [`Tcp::connect`].
pub fn connect(world: &World, options: &Options) -> Result<Box<dyn Collective>, ParallelError> {
    Ok(if world.size == 1 {
        Box::new(Single)
    } else {
        Box::new(Tcp::connect(world, options)?)
    })
}
