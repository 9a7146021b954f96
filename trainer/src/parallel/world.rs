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

    fn needed<T: FromStr>(&self, name: &'static str, beside: &str) -> Result<T, ParallelError> {
        self.number(name)?.ok_or_else(|| ParallelError::MissingVariable {
            name,
            because: format!("{beside} is set, which needs it"),
        })
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
        let rank = self.needed(TORCH.rank, TORCH.size)?;
        let size = self.needed(TORCH.size, TORCH.rank)?;
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
        let local_rank = self.number(TORCH.local_rank)?.unwrap_or(0);
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
        let rank = self.needed(SLURM.rank, SLURM.size)?;
        let size = self.needed(SLURM.size, SLURM.rank)?;
        let local_rank = self.number(SLURM.local_rank)?.unwrap_or(0);
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
        let rank = self.needed(names.rank, names.rank)?;
        let size = self.needed(names.size, names.rank)?;
        let local_rank = self.number(names.local_rank)?.unwrap_or(0);
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
mod tests {
    use super::*;

    /// The world of `NAME=value NAME=value`.
    fn world(variables: &str) -> Result<World, ParallelError> {
        World::from_variables(|name| {
            let mut pairs = variables.split_whitespace().filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
        })
    }

    fn refusal(variables: &str) -> String {
        world(variables).unwrap_err().to_string()
    }

    fn master(host: &str, port: u16) -> Option<Master> {
        Some(Master {
            host: host.to_string(),
            port,
        })
    }

    #[test]
    fn nobody_launched() {
        assert_eq!(world("").unwrap(), World::alone());
        assert_eq!(world("RANK= MASTER_ADDR=host").unwrap(), World::alone());
        // An sbatch script outside of srun.
        assert_eq!(
            world("SLURM_PROCID=0 SLURM_NTASKS=8 SLURM_JOB_ID=7").unwrap(),
            World::alone()
        );
    }

    #[test]
    fn torchrun() {
        let base = "RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 LOCAL_WORLD_SIZE=4 MASTER_ADDR=a MASTER_PORT=300";
        let got = world(&format!(
            "{base} TORCHELASTIC_RUN_ID=job TORCHELASTIC_RESTART_COUNT=2 SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2"
        ))
        .unwrap();
        let expected = World {
            rank: 5,
            size: 8,
            local_rank: 1,
            local_size: 4,
            master: master("a", 300),
            job: "job.2".to_string(),
            launcher: Launcher::Torch,
        };
        assert_eq!(got, expected);
        assert_eq!(
            world(&format!("{base} TORCHELASTIC_USE_AGENT_STORE=False"))
                .unwrap()
                .master,
            master("a", 300)
        );
        let agent = format!("{base} TORCHELASTIC_USE_AGENT_STORE=True");
        assert_eq!(world(&agent).unwrap().master, master("a", 301));
        assert_eq!(
            world(&format!("{agent} HALFPI_MASTER_PORT=77")).unwrap().master,
            master("a", 77)
        );
        let one = world("RANK=0 WORLD_SIZE=1").unwrap();
        assert_eq!((one.size, one.master), (1, None));
        // Kubeflow gives no local numbers.
        assert_eq!(
            world("RANK=1 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=3")
                .unwrap()
                .local_rank,
            0
        );
    }

    #[test]
    fn inconsistent_variables_are_named() {
        let rest = "MASTER_ADDR=a MASTER_PORT=300";
        for (variables, name, word) in [
            ("RANK=0".to_string(), "WORLD_SIZE is not set", "RANK"),
            ("WORLD_SIZE=2".to_string(), "RANK is not set", "WORLD_SIZE"),
            (
                format!("RANK=2 WORLD_SIZE=2 {rest}"),
                "RANK=2",
                "less than WORLD_SIZE=2",
            ),
            (format!("RANK=-1 WORLD_SIZE=2 {rest}"), "RANK=-1", "not a number"),
            (format!("RANK=0 WORLD_SIZE=0 {rest}"), "WORLD_SIZE=0", "1 to 65536"),
            (
                format!("RANK=0 WORLD_SIZE=99999999 {rest}"),
                "WORLD_SIZE=99999999",
                "1 to 65536",
            ),
            (
                format!("RANK=0 WORLD_SIZE=2 LOCAL_WORLD_SIZE=3 {rest}"),
                "LOCAL_WORLD_SIZE=3",
                "WORLD_SIZE=2",
            ),
            (
                format!("RANK=0 WORLD_SIZE=4 LOCAL_WORLD_SIZE=2 LOCAL_RANK=2 {rest}"),
                "LOCAL_RANK=2",
                "LOCAL_WORLD_SIZE=2",
            ),
            (
                "RANK=0 WORLD_SIZE=2 MASTER_PORT=1".to_string(),
                "MASTER_ADDR is not set",
                "WORLD_SIZE=2",
            ),
            (
                "RANK=0 WORLD_SIZE=2 MASTER_ADDR=a".to_string(),
                "MASTER_PORT is not set",
                "WORLD_SIZE=2",
            ),
            (
                "RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=70000".to_string(),
                "MASTER_PORT=70000",
                "fits",
            ),
            (
                "RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=0".to_string(),
                "MASTER_PORT=0",
                "left to the system",
            ),
            (
                "OMPI_COMM_WORLD_RANK=0".to_string(),
                "OMPI_COMM_WORLD_SIZE is not set",
                "OMPI_COMM_WORLD_RANK",
            ),
            (
                "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2".to_string(),
                "MASTER_ADDR is not set",
                "-x MASTER_ADDR",
            ),
            (
                "SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=2".to_string(),
                "SLURM_STEP_NODELIST is not set",
                "MASTER_ADDR",
            ),
            (
                "SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NODELIST=a[[".to_string(),
                "a[[",
                "set MASTER_ADDR",
            ),
        ] {
            let text = refusal(&variables);
            assert!(text.starts_with(name) || text.contains(name), "{variables}: {text}");
            assert!(text.contains(word), "{variables}: {text}");
        }
    }

    #[test]
    fn srun() {
        let variables = "SLURM_PROCID=3 SLURM_STEP_NUM_TASKS=4 SLURM_NTASKS=4 SLURM_LOCALID=1 SLURM_JOB_ID=1000 \
                         SLURM_STEP_ID=2 SLURM_STEP_NODELIST=gpu[07-08] SLURM_STEP_NUM_NODES=2";
        let got = world(variables).unwrap();
        let expected = World {
            rank: 3,
            size: 4,
            local_rank: 1,
            local_size: 1,
            master: master("gpu07", 26_002),
            job: "slurm-1000.2".to_string(),
            launcher: Launcher::Slurm,
        };
        assert_eq!(got, expected);
        let named = world(&format!("{variables} MASTER_ADDR=b MASTER_PORT=9")).unwrap();
        assert_eq!(named.master, master("b", 9));
    }

    #[test]
    fn mpirun() {
        let numbers = "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=1 \
                       OMPI_COMM_WORLD_LOCAL_SIZE=2 PMIX_NAMESPACE=name";
        let got = world(numbers).unwrap();
        assert_eq!((got.rank, got.size, got.local_rank, got.local_size), (1, 2, 1, 2));
        assert_eq!((got.master, got.job.as_str()), (master("127.0.0.1", 29_500), "name"));
        let got = world("PMI_RANK=1 PMI_SIZE=2 MPI_LOCALRANKID=0 MPI_LOCALNRANKS=1 MASTER_ADDR=c").unwrap();
        assert_eq!(
            (got.rank, got.size, got.master, got.launcher),
            (1, 2, master("c", 29_500), Launcher::Pmi)
        );
    }

    #[test]
    fn first_nodes() {
        for (nodes, first) in [
            ("a", Some("a")),
            ("a,b", Some("a")),
            ("gpu[003-005,9],login", Some("gpu003")),
            ("n[1,3]-x,y", Some("n1-x")),
            ("n[1-2]r[3-4]", None),
            ("n[", None),
            ("n[]", None),
            ("", None),
            (",", None),
        ] {
            assert_eq!(first_node(nodes).as_deref(), first, "{nodes}");
        }
    }
}
