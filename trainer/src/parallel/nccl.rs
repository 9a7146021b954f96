//! A world of GPUs: floats and votes are summed by NCCL, over NVLink, InfiniBand or whatever it finds.
//!
//! Not run on a GPU yet: no machine with two was at hand. Tests run it with stand-ins for libcuda and libnccl that add up
//! in the host's memory.
//!
//! [`Tcp`] stays beside it. Over TCP the ranks meet, exchange NCCL's id, agree on every sum before NCCL sees it (NCCL
//! itself hangs when ranks disagree), and learn of each other's end. NCCL runs in a thread of its own, so that a rank
//! whose NCCL waits for the dead ends all the same.
//!
//! The gradients pass through the host's memory. burn keeps its device buffers to itself: its CUDA backend can call
//! NCCL on them (cubecl), but makes the communicator's id within one process, so not for one process per GPU. When that
//! changes, only this file does.

use super::chain::Element;
use super::{Collective, Options, ParallelError, Tcp};
use cudarc::driver::{CudaContext, CudaStream, DeviceRepr, ValidAsZeroBits};
use cudarc::nccl::{Comm, Id, NcclType, ReduceOp};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a rank that waits for NCCL asks whether all others live.
const TICK: Duration = Duration::from_millis(50);

/// Numbers that are on the GPU at a time.
const PIECE: usize = 16 << 20;

/// The bytes of NCCL's id.
const ID: usize = 128;

/// The other ranks, each with a GPU.
///
/// Float sums have the same bits on every rank, but NCCL's order and not that of the ranks, so they may differ in the
/// last bits from one process's. Votes are exact: they are summed in 64 bits and checked. Everything else goes over TCP.
pub struct Nccl {
    tcp: Tcp,
    patience: Duration,
    work: Option<Sender<Work>>,
    done: Receiver<Result<Work, String>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is asked for, and what it answers with.
enum Work {
    /// An id for a new communicator (rank 0).
    MakeId,
    /// The id of the communicator to join.
    Join([u8; ID]),
    /// To be summed in place.
    Floats(Vec<f32>),
    /// To be summed in place.
    Integers(Vec<i64>),
}

impl Nccl {
    /// Whether NCCL can be loaded.
    ///
    /// # Errors
    ///
    /// [`ParallelError::Nccl`] says how to come by it.
    pub fn require() -> Result<(), ParallelError> {
        // SAFETY: this loads the library, which runs its initialiser: that of NVIDIA's own library, by the name that
        // every program loads it by.
        if unsafe { cudarc::nccl::sys::is_culib_present() } {
            return Ok(());
        }
        // cudarc does not know the name libnccl.so.2, which is all that packages for users bring.
        let problem = "there is no libnccl.so here; install it (libnccl-dev), link libnccl.so.2 by that name into a \
                       directory of LD_LIBRARY_PATH, or add up over TCP (--collective tcp)"
            .to_string();
        Err(ParallelError::Nccl { problem })
    }

    /// Meets the ranks that have met over TCP over NCCL too, with the GPU `device` for this one.
    ///
    /// # Errors
    ///
    /// [`ParallelError::Nccl`] without NCCL, or where it fails; [`ParallelError::RankFailed`] where another rank does.
    pub fn over(mut tcp: Tcp, device: usize, options: &Options) -> Result<Self, ParallelError> {
        Self::require().inspect_err(|error| tcp.abort(&error.to_string()))?;
        let (work, todo) = channel();
        let (answer, done) = channel();
        let (rank, size) = (tcp.rank(), tcp.world_size());
        let thread = std::thread::Builder::new()
            .name("parallel-nccl".to_string())
            .spawn(move || serve(device, rank, size, &todo, &answer))
            .map_err(|source| ParallelError::System {
                action: "start a thread",
                source,
            })?;
        let patience = options.stall_timeout;
        let mut nccl = Self {
            tcp,
            patience,
            work: Some(work),
            done,
            thread: Some(thread),
        };

        let mut id = [0; ID];
        if rank == 0
            && let Work::Join(made) = nccl.ask(Work::MakeId)?
        {
            id = made;
        }
        nccl.tcp.broadcast(&mut id, 0)?;
        nccl.ask(Work::Join(id))?;
        Ok(nccl)
    }

    /// Lets the thread work, and waits for it as long as all others live.
    fn ask(&mut self, work: Work) -> Result<Work, ParallelError> {
        let gone = || "its thread ended: a symbol is missing, the library is too old".to_string();
        let sent = self.work.as_ref().is_some_and(|to| to.send(work).is_ok());
        let start = Instant::now();
        let problem = loop {
            if !sent {
                break gone();
            }
            match self.done.recv_timeout(TICK) {
                Ok(Ok(work)) => return Ok(work),
                Ok(Err(problem)) => break problem,
                Err(RecvTimeoutError::Disconnected) => break gone(),
                Err(RecvTimeoutError::Timeout) => self.tcp.check()?,
            }
            if start.elapsed() > self.patience {
                break format!("it did not finish within {} s", self.patience.as_secs());
            }
        };
        let error = ParallelError::Nccl { problem };
        self.tcp.abort(&error.to_string());
        Err(error)
    }

    /// Sums in pieces; `pack` and `unpack` are the numbers' ways to the thread and back.
    fn sum<T: Element>(
        &mut self,
        values: &mut [T],
        pack: impl Fn(&[T]) -> Work,
        mut unpack: impl FnMut(usize, Work, &mut [T]) -> Result<(), ParallelError>,
    ) -> Result<(), ParallelError> {
        self.tcp.agree::<T>(values.len())?;
        for (index, piece) in values.chunks_mut(PIECE).enumerate() {
            let summed = self.ask(pack(piece))?;
            unpack(index * PIECE, summed, piece).inspect_err(|error| self.tcp.abort(&error.to_string()))?;
        }
        Ok(())
    }
}

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.tcp.rank()
    }

    fn world_size(&self) -> usize {
        self.tcp.world_size()
    }

    fn all_reduce_sum_f32(&mut self, values: &mut [f32]) -> Result<(), ParallelError> {
        self.sum(
            values,
            |piece| Work::Floats(piece.to_vec()),
            |_, summed, piece| {
                if let Work::Floats(summed) = summed {
                    piece.copy_from_slice(&summed);
                }
                Ok(())
            },
        )
    }

    fn all_reduce_sum_i32(&mut self, values: &mut [i32]) -> Result<(), ParallelError> {
        let last = self.world_size() - 1;
        self.sum(
            values,
            |piece| Work::Integers(piece.iter().copied().map(i64::from).collect()),
            |start, summed, piece| {
                if let Work::Integers(summed) = summed {
                    for (index, (value, sum)) in piece.iter_mut().zip(summed).enumerate() {
                        *value = i32::try_from(sum).map_err(|_| ParallelError::Overflow {
                            index: start + index,
                            rank: last,
                        })?;
                    }
                }
                Ok(())
            },
        )
    }

    fn broadcast(&mut self, bytes: &mut [u8], root: usize) -> Result<(), ParallelError> {
        self.tcp.broadcast(bytes, root)
    }

    fn barrier(&mut self) -> Result<(), ParallelError> {
        self.tcp.barrier()
    }

    fn check(&self) -> Result<(), ParallelError> {
        self.tcp.check()
    }

    fn abort(&mut self, reason: &str) {
        self.tcp.abort(reason);
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        self.work = None;
        // After a failure the thread may wait in NCCL for the dead; it ends with the process.
        if let Some(thread) = self.thread.take().filter(|_| self.tcp.check().is_ok()) {
            let _ = thread.join();
        }
    }
}

/// The thread: it alone touches CUDA, and ends when nobody asks any more.
fn serve(device: usize, rank: usize, size: usize, todo: &Receiver<Work>, answer: &Sender<Result<Work, String>>) {
    let mut joined = None;
    while let Ok(work) = todo.recv() {
        let done = match work {
            Work::MakeId => make_id(),
            Work::Join(id) => join(device, rank, size, id).map(|comm| {
                joined = Some(comm);
                Work::Join(id)
            }),
            Work::Floats(values) => sum(joined.as_ref(), values).map(Work::Floats),
            Work::Integers(values) => sum(joined.as_ref(), values).map(Work::Integers),
        };
        if answer.send(done).is_err() {
            return;
        }
    }
}

fn make_id() -> Result<Work, String> {
    let id = Id::new().map_err(|error| text(error.0))?;
    Ok(Work::Join(id.internal().map(|byte| byte as u8)))
}

fn join(device: usize, rank: usize, size: usize, id: [u8; ID]) -> Result<(Comm, Arc<CudaStream>), String> {
    let stream = CudaContext::new(device)
        .and_then(|context| context.new_stream())
        .map_err(text)?;
    let id = Id::uninit(id.map(|byte| byte as std::ffi::c_char));
    let comm = Comm::from_rank(Arc::clone(&stream), rank, size, id);
    let comm = comm.map_err(|error| format!("{}; has every rank a GPU of its own?", text(error.0)))?;
    Ok((comm, stream))
}

/// The sum over the ranks, of one piece. (CUDA copies it by way of its own pinned memory.)
fn sum<T: NcclType + DeviceRepr + ValidAsZeroBits>(
    joined: Option<&(Comm, Arc<CudaStream>)>,
    mut values: Vec<T>,
) -> Result<Vec<T>, String> {
    let (comm, stream) = joined.ok_or("not joined")?;
    let mut on_device = stream.clone_htod(&values).map_err(text)?;
    comm.all_reduce_in_place(&mut on_device, &ReduceOp::Sum)
        .map_err(|error| text(error.0))?;
    stream.memcpy_dtoh(&on_device, &mut values).map_err(text)?;
    stream.synchronize().map_err(text)?;
    Ok(values)
}

/// CUDA's and NCCL's errors have a name and no more.
fn text(error: impl Debug) -> String {
    format!("{error:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_answers_with_errors() {
        let (work, todo) = channel();
        let (answer, done) = channel();
        let thread = std::thread::spawn(move || serve(0, 0, 2, &todo, &answer));
        work.send(Work::Floats(vec![1.0])).unwrap();
        assert!(
            done.recv()
                .unwrap()
                .is_err_and(|problem| problem.contains("not joined"))
        );
        drop(work);
        thread.join().unwrap();
    }
}
