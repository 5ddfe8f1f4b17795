//! Which CPUs the tasks of a part get.
//!
//! Invariant: only CPUs that the daemon itself may use. Where the job has a part of a machine and no
//! set of CPUs of its own, nobody is bound by default: two jobs would meet on the first CPUs.
use crate::message::Bind;
use rustix::thread::{CpuSet, sched_getaffinity};

/// The CPUs this process may use.
pub(super) fn own() -> Vec<u32> {
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let most = u32::try_from(CpuSet::MAX_CPU).unwrap_or(1024);
    (0..most).filter(|cpu| set.is_set(usize::try_from(*cpu).unwrap_or(usize::MAX))).collect()
}

/// One set for each task; empty: as the daemon.
///
/// # Errors
/// When CPUs are named that are not there.
pub(super) fn sets(
    bind: &Bind,
    tasks: usize,
    cpus_per_task: u32,
    node_cpus: u32,
    own: &[u32],
) -> Result<Vec<Vec<u32>>, String> {
    match bind {
        Bind::Free => Ok(vec![Vec::new(); tasks]),
        Bind::Sets(sets) if sets.is_empty() => Ok(vec![Vec::new(); tasks]),
        Bind::Sets(sets) => {
            let wanted = |at: usize| sets[at % sets.len()].clone();
            (0..tasks)
                .map(|at| {
                    let mut set = wanted(at);
                    set.retain(|cpu| own.contains(cpu));
                    if set.is_empty() {
                        return Err(format!(
                            "CPU binding outside of job step allocation: {:?}",
                            wanted(at)
                        ));
                    }
                    Ok(set)
                })
                .collect()
        }
        Bind::Auto | Bind::Tasks => {
            let each = usize::try_from(cpus_per_task.max(1)).unwrap_or(1);
            let takes_all = u32::try_from(each * tasks).is_ok_and(|wanted| wanted == node_cpus);
            if *bind == Bind::Auto && !takes_all {
                return Ok(vec![Vec::new(); tasks]);
            }
            let ours = u32::try_from(own.len()).is_ok_and(|count| count <= node_cpus);
            if !ours || each * tasks > own.len() {
                return Ok(vec![Vec::new(); tasks]);
            }
            Ok(own.chunks(each).take(tasks).map(<[u32]>::to_vec).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_get_neighbouring_cpus_of_a_node_that_is_theirs() {
        let own = [4, 5, 6, 7];
        assert_eq!(sets(&Bind::Tasks, 2, 2, 4, &own).unwrap(), [vec![4, 5], vec![6, 7]]);
        assert_eq!(sets(&Bind::Tasks, 2, 2, 2, &own).unwrap(), [vec![], vec![]] as [Vec<u32>; 2]);
        assert_eq!(sets(&Bind::Tasks, 3, 2, 4, &own).unwrap(), vec![Vec::<u32>::new(); 3]);
    }

    #[test]
    fn tasks_that_leave_cpus_free_are_not_bound_unless_asked() {
        let own = [0, 1, 2, 3];
        assert_eq!(sets(&Bind::Auto, 1, 1, 4, &own).unwrap(), [vec![]] as [Vec<u32>; 1]);
        assert_eq!(sets(&Bind::Auto, 2, 2, 4, &own).unwrap(), [vec![0, 1], vec![2, 3]]);
        assert_eq!(sets(&Bind::Tasks, 1, 1, 4, &own).unwrap(), [vec![0]]);
    }

    #[test]
    fn named_cpus_go_round_and_must_be_there() {
        let bind = Bind::Sets(vec![vec![0], vec![1, 9]]);
        assert_eq!(sets(&bind, 3, 1, 1, &[0, 1]).unwrap(), [vec![0], vec![1], vec![0]]);
        assert!(sets(&bind, 2, 1, 1, &[0]).unwrap_err().contains("[1, 9]"));
    }

    #[test]
    fn this_process_may_use_a_cpu() {
        assert!(!own().is_empty());
    }
}
