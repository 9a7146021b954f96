//! What launchers put in the environment, and what could not be meant.

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
