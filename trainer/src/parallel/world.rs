//! Who this process is: read from what its launcher put in the environment.

use super::ParallelError;
use std::str::FromStr;

/// More ranks than anybody has; bounds what a broken variable can ask for.
const MAX_SIZE: usize = 1 << 16;

/// torch's port, where a launcher gives none.
const DEFAULT_PORT: u16 = 29_500;

/// A process's place among those of its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// This process's number, from 0.
    pub rank: usize,
    /// How many processes there are.
    pub size: usize,
    /// Its number among those on the same machine: which of the machine's GPUs is its own.
    pub local_rank: usize,
    /// How many processes are on the same machine, as far as the launcher says (else 1).
    pub local_size: usize,
    /// Where rank 0 waits for the others; `None` in a world of one.
    pub master: Option<Master>,
    /// The launcher's name for the job; empty if it has none. Processes of different jobs never join.
    pub job: String,
    /// Who started the processes.
    pub launcher: Launcher,
}

/// Where rank 0 waits for the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    /// A name or an address.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
}

/// Whose variables were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// Nobody's: a world of one.
    Alone,
    /// `RANK`, `WORLD_SIZE`, …: torchrun, Kubernetes, [`spawn_local`](super::spawn_local).
    Torch,
    /// `SLURM_…`: srun.
    Slurm,
    /// `OMPI_COMM_WORLD_…`: Open MPI's mpirun.
    OpenMpi,
    /// `PMI_…`: the mpirun of MPICH and of Intel.
    Pmi,
}

impl World {
    /// The world of a process that nobody launched.
    pub fn alone() -> Self {
        Self {
            rank: 0,
            size: 1,
            local_rank: 0,
            local_size: 1,
            master: None,
            job: String::new(),
            launcher: Launcher::Alone,
        }
    }

    /// This process's world: by torchrun's variables; without them by Slurm's, Open MPI's or PMI's, in this order;
    /// without any of them a world of one.
    ///
    /// # Errors
    ///
    /// [`ParallelError::Variable`] and [`ParallelError::MissingVariable`], which name the variable.
    pub fn from_environment() -> Result<Self, ParallelError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// As [`from_environment`](Self::from_environment), with the variables from elsewhere.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ParallelError> {
        let variables = Variables(&variable);
        if variables.has("RANK") || variables.has("WORLD_SIZE") {
            variables.torch()
        } else if variables.has("SLURM_PROCID") && variables.has("SLURM_STEP_NUM_TASKS") {
            // A batch script that did not go through srun has SLURM_PROCID=0 and SLURM_NTASKS, but is alone: only a
            // step's tasks have the step's variables.
            variables.slurm()
        } else if variables.has("OMPI_COMM_WORLD_RANK") {
            variables.open_mpi()
        } else if variables.has("PMI_RANK") {
            variables.pmi()
        } else {
            Ok(Self::alone())
        }
    }

    /// Checks what all launchers must have got right.
    fn checked(self, names: &Names) -> Result<Self, ParallelError> {
        let outside = |name, value: usize, problem: String| {
            Err(ParallelError::Variable {
                name,
                value: value.to_string(),
                problem,
            })
        };
        if self.size == 0 || self.size > MAX_SIZE {
            return outside(names.size, self.size, format!("a world has 1 to {MAX_SIZE} processes"));
        }
        if self.rank >= self.size {
            return outside(
                names.rank,
                self.rank,
                format!("must be less than {}={}", names.size, self.size),
            );
        }
        if self.local_size == 0 || self.local_size > self.size {
            return outside(
                names.local_size,
                self.local_size,
                format!("must be 1 to {}={}", names.size, self.size),
            );
        }
        // Where the launcher does not say how many are here, the number here has only the world above it.
        let (name, limit) = if self.local_size == 1 {
            (names.size, self.size)
        } else {
            (names.local_size, self.local_size)
        };
        if self.local_rank >= limit {
            return outside(
                names.local_rank,
                self.local_rank,
                format!("must be less than {name}={limit}"),
            );
        }
        Ok(if self.size == 1 {
            Self { master: None, ..self }
        } else {
            self
        })
    }
}

/// What a launcher calls its numbers.
struct Names {
    rank: &'static str,
    size: &'static str,
    local_rank: &'static str,
    local_size: &'static str,
}

const TORCH: Names = Names {
    rank: "RANK",
    size: "WORLD_SIZE",
    local_rank: "LOCAL_RANK",
    local_size: "LOCAL_WORLD_SIZE",
};
const SLURM: Names = Names {
    rank: "SLURM_PROCID",
    size: "SLURM_STEP_NUM_TASKS",
    local_rank: "SLURM_LOCALID",
    local_size: "SLURM_STEP_TASKS_PER_NODE",
};
const OPEN_MPI: Names = Names {
    rank: "OMPI_COMM_WORLD_RANK",
    size: "OMPI_COMM_WORLD_SIZE",
    local_rank: "OMPI_COMM_WORLD_LOCAL_RANK",
    local_size: "OMPI_COMM_WORLD_LOCAL_SIZE",
};
const PMI: Names = Names {
    rank: "PMI_RANK",
    size: "PMI_SIZE",
    local_rank: "MPI_LOCALRANKID",
    local_size: "MPI_LOCALNRANKS",
};

/// The environment. A variable that is set to nothing is not set.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.0)(name)
            .map(|value| value.trim().to_string())
            .filter(|value| !value.is_empty())
    }

    fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    fn number<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, ParallelError> {
        self.text(name)
            .map(|value| {
                value.parse().map_err(|_| ParallelError::Variable {
                    name,
                    value,
                    problem: "is not a number that fits here".to_string(),
                })
            })
            .transpose()
    }

    /// The number, beside another one that makes no sense alone.
    fn needed(&self, name: &'static str, beside: &str) -> Result<usize, ParallelError> {
        self.number(name)?.ok_or_else(|| ParallelError::MissingVariable {
            name,
            because: format!("{beside} is set, which needs it"),
        })
    }

    /// Rank, size, and the rank on this machine, 0 if nothing says so.
    fn place(&self, names: &Names) -> Result<[usize; 3], ParallelError> {
        Ok([
            self.needed(names.rank, names.size)?,
            self.needed(names.size, names.rank)?,
            self.number(names.local_rank)?.unwrap_or(0),
        ])
    }

    /// The port that the user set, if any. torchrun itself keeps a store on `MASTER_PORT`, so it has its own name.
    fn port(&self) -> Result<Option<u16>, ParallelError> {
        for name in ["HALFPI_MASTER_PORT", "MASTER_PORT"] {
            match self.number(name)? {
                Some(0) => {
                    let problem = "all ranks must know the port, so it cannot be left to the system".to_string();
                    return Err(ParallelError::Variable {
                        name,
                        value: "0".to_string(),
                        problem,
                    });
                }
                Some(port) => return Ok(Some(port)),
                None => {}
            }
        }
        Ok(None)
    }

    fn torch(&self) -> Result<World, ParallelError> {
        let [rank, size, local_rank] = self.place(&TORCH)?;
        let local_size = self.number(TORCH.local_size)?.unwrap_or(1);
        let mut master = None;
        if size > 1 {
            let because = || format!("{}={size} processes must find rank 0", TORCH.size);
            let missing = |name| ParallelError::MissingVariable {
                name,
                because: because(),
            };
            let host = self.text("MASTER_ADDR").ok_or_else(|| missing("MASTER_ADDR"))?;
            let mut port = self.port()?.ok_or_else(|| missing("MASTER_PORT"))?;
            // Then the port is taken already: torchrun's agent has its own store there.
            let agent = self
                .text("TORCHELASTIC_USE_AGENT_STORE")
                .is_some_and(|value| value == "True");
            if agent && !self.has("HALFPI_MASTER_PORT") {
                port = port.checked_add(1).unwrap_or(DEFAULT_PORT);
            }
            master = Some(Master { host, port });
        }
        // torchrun starts a failed job anew under the same name.
        let attempt = self
            .text("TORCHELASTIC_RESTART_COUNT")
            .map_or(String::new(), |count| format!(".{count}"));
        let job = self
            .text("TORCHELASTIC_RUN_ID")
            .map_or(String::new(), |job| job + &attempt);
        World {
            rank,
            size,
            local_rank,
            local_size,
            master,
            job,
            launcher: Launcher::Torch,
        }
        .checked(&TORCH)
    }

    fn slurm(&self) -> Result<World, ParallelError> {
        let [rank, size, local_rank] = self.place(&SLURM)?;
        let job: u64 = self.number("SLURM_JOB_ID")?.unwrap_or(0);
        let step: u64 = self.number("SLURM_STEP_ID")?.unwrap_or(0);
        let host = match self.text("MASTER_ADDR") {
            Some(host) => host,
            None => {
                let name = "SLURM_STEP_NODELIST";
                let because = "rank 0 is on its first node, and MASTER_ADDR is not set either".to_string();
                let nodes = self
                    .text(name)
                    .ok_or(ParallelError::MissingVariable { name, because })?;
                first_node(&nodes).ok_or_else(|| ParallelError::Variable {
                    name,
                    value: nodes,
                    problem: "is not understood; set MASTER_ADDR to the node of rank 0".to_string(),
                })?
            }
        };
        // Jobs and steps that share a node get different ports. The modulus keeps below the ports that systems give
        // out for connections.
        let port = self.port()?.unwrap_or(10_000 + ((job * 16 + step) % 20_000) as u16);
        let nodes: usize = self.number("SLURM_STEP_NUM_NODES")?.unwrap_or(0);
        let local_size = if nodes == 1 { size } else { 1 };
        let master = Some(Master { host, port });
        let job = format!("slurm-{job}.{step}");
        World {
            rank,
            size,
            local_rank,
            local_size,
            master,
            job,
            launcher: Launcher::Slurm,
        }
        .checked(&SLURM)
    }

    fn open_mpi(&self) -> Result<World, ParallelError> {
        let job = self
            .text("PMIX_NAMESPACE")
            .or_else(|| self.text("OMPI_MCA_ess_base_jobid"))
            .unwrap_or_default();
        self.mpi(&OPEN_MPI, Launcher::OpenMpi, job, "-x MASTER_ADDR=…")
    }

    fn pmi(&self) -> Result<World, ParallelError> {
        let job = self.text("PMI_JOBID").unwrap_or_default();
        self.mpi(&PMI, Launcher::Pmi, job, "-genv MASTER_ADDR …")
    }

    /// MPI's launchers say who is who, but not where rank 0 is, unless all are on one machine.
    fn mpi(&self, names: &Names, launcher: Launcher, job: String, flag: &str) -> Result<World, ParallelError> {
        let [rank, size, local_rank] = self.place(names)?;
        let local_size = self.number(names.local_size)?.unwrap_or(1);
        let host = match self.text("MASTER_ADDR") {
            Some(host) => host,
            None if local_size == size => "127.0.0.1".to_string(),
            None => {
                let because = format!("the processes are on several machines; give mpirun {flag} with rank 0's");
                return Err(ParallelError::MissingVariable {
                    name: "MASTER_ADDR",
                    because,
                });
            }
        };
        let master = Some(Master {
            host,
            port: self.port()?.unwrap_or(DEFAULT_PORT),
        });
        World {
            rank,
            size,
            local_rank,
            local_size,
            master,
            job,
            launcher,
        }
        .checked(names)
    }
}

/// The first name of a Slurm list of nodes such as `gpu[003-005,9],login`.
fn first_node(nodes: &str) -> Option<String> {
    let end = nodes.find([',', '[']).unwrap_or(nodes.len());
    let (name, rest) = nodes.split_at(end);
    let node = match rest.strip_prefix('[') {
        None => name.to_string(),
        Some(ranges) => {
            let (ranges, suffix) = ranges.split_once(']')?;
            let number = ranges.split(['-', ',']).next()?;
            let suffix = suffix.split(',').next()?;
            if number.is_empty() || suffix.contains('[') {
                return None;
            }
            format!("{name}{number}{suffix}")
        }
    };
    (!node.is_empty()).then_some(node)
}

#[cfg(test)]
mod tests;
