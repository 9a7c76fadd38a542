//! Which of the units that tasks want they get, when a node has fewer.
//!
//! Weighted max-min fairness, first between tenants, then between the tasks of each: units go one by one to whoever has
//! least for its weight and still wants more. Lower bounds are served before anything else, in the same order. So nobody can
//! have more except at the cost of somebody who has less, and no unit stays free while somebody wants it.

/// What a tenant may have, and what its tasks want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantClaim {
    /// Share relative to the other tenants; 0 counts as 1.
    pub weight: u32,
    /// Most units of all its tasks together; `None` for no quota.
    pub quota: Option<u32>,
    /// Its tasks.
    pub tasks: Vec<TaskClaim>,
}

/// What a task wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskClaim {
    /// Share relative to the tenant's other tasks; 0 counts as 1.
    pub weight: u32,
    /// Units that it should have in any case.
    pub min: u32,
    /// Units of its plan.
    pub wanted: u32,
}

impl TaskClaim {
    /// A task whose lower bound is above its plan gets the bound.
    fn most(&self) -> u32 {
        self.wanted.max(self.min)
    }
}

/// Units of each task of each tenant, out of `pool`.
pub fn place(pool: u32, tenants: &[TenantClaim]) -> Vec<Vec<u32>> {
    let mut granted: Vec<Vec<u32>> = tenants.iter().map(|tenant| vec![0; tenant.tasks.len()]).collect();
    let left = fill(pool, tenants, &mut granted, |task| task.min);
    fill(left, tenants, &mut granted, TaskClaim::most);
    granted
}

/// Gives units one by one up to `most` of each task; returns what is left.
fn fill(pool: u32, tenants: &[TenantClaim], granted: &mut [Vec<u32>], most: impl Fn(&TaskClaim) -> u32) -> u32 {
    for left in (1..=pool).rev() {
        let hungry = |index: &usize| {
            let (tenant, has) = (&tenants[*index], &granted[*index]);
            has.iter().sum::<u32>() < tenant.quota.unwrap_or(u32::MAX) && tenant.tasks.iter().zip(has).any(|(task, has)| *has < most(task))
        };
        let tenant = (0..tenants.len()).filter(hungry).min_by(|one, other| {
            by_share(granted[*one].iter().sum(), tenants[*one].weight, granted[*other].iter().sum(), tenants[*other].weight)
        });
        let Some(tenant) = tenant else { return left };
        let (tasks, has) = (&tenants[tenant].tasks, &mut granted[tenant]);
        let task = (0..tasks.len())
            .filter(|index| has[*index] < most(&tasks[*index]))
            .min_by(|one, other| by_share(has[*one], tasks[*one].weight, has[*other], tasks[*other].weight))
            .expect("a hungry tenant has a hungry task");
        has[task] += 1;
    }
    0
}

/// Compares units for their weights without dividing.
fn by_share(units: u32, weight: u32, other_units: u32, other_weight: u32) -> std::cmp::Ordering {
    let weighed = |units: u32, weight: u32| u64::from(units) * u64::from(weight.max(1));
    weighed(units, other_weight).cmp(&weighed(other_units, weight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::Draw;

    fn task(weight: u32, min: u32, wanted: u32) -> TaskClaim {
        TaskClaim { weight, min, wanted }
    }

    fn tenant(weight: u32, quota: Option<u32>, tasks: Vec<TaskClaim>) -> TenantClaim {
        TenantClaim { weight, quota, tasks }
    }

    #[test]
    fn a_flooding_tenant_leaves_the_other_its_share() {
        let tenants = [tenant(1, None, vec![task(1, 0, 100), task(1, 0, 100)]), tenant(1, None, vec![task(1, 0, 3)])];
        assert_eq!(place(8, &tenants), [vec![3, 2], vec![3]]);
    }

    #[test]
    fn weights_quotas_and_lower_bounds_count() {
        let tenants = [tenant(3, None, vec![task(1, 0, 50)]), tenant(1, None, vec![task(1, 0, 50)])];
        assert_eq!(place(8, &tenants), [vec![6], vec![2]]);
        let tenants = [tenant(1, Some(2), vec![task(1, 0, 50)]), tenant(1, None, vec![task(1, 0, 50)])];
        assert_eq!(place(8, &tenants), [vec![2], vec![6]]);
        let tenants = [tenant(1, None, vec![task(1, 5, 0)]), tenant(1, None, vec![task(1, 0, 50)])];
        assert_eq!(place(8, &tenants), [vec![5], vec![3]]);
    }

    /// Units of a tenant that could still take some, for its weight, are at most one unit below anybody else's.
    fn check_fair(pool: u32, tenants: &[TenantClaim], granted: &[Vec<u32>]) {
        let sums: Vec<u32> = granted.iter().map(|tasks| tasks.iter().sum()).collect();
        let wants: Vec<u32> = tenants
            .iter()
            .map(|tenant| tenant.tasks.iter().map(TaskClaim::most).sum::<u32>().min(tenant.quota.unwrap_or(u32::MAX)))
            .collect();
        assert_eq!(sums.iter().sum::<u32>(), pool.min(wants.iter().sum()), "a unit is free while somebody wants it, or given twice");
        for (one, tenant) in tenants.iter().enumerate() {
            assert!(sums[one] <= wants[one], "more than the quota or than wanted");
            for (granted, task) in granted[one].iter().zip(&tenant.tasks) {
                assert!(*granted <= task.most());
            }
            let mins = |tenant: &TenantClaim| tenant.tasks.iter().map(|task| task.min).sum::<u32>();
            for (other, richer) in tenants.iter().enumerate().filter(|_| sums[one] < wants[one]) {
                let above_min = sums[other] > mins(richer);
                let fair =
                    u64::from(sums[other].saturating_sub(1)) * u64::from(tenant.weight) <= u64::from(sums[one]) * u64::from(richer.weight);
                assert!(!above_min || fair, "tenant {other} has {} and tenant {one} {} of {}", sums[other], sums[one], wants[one]);
            }
        }
    }

    #[test]
    fn any_claims_are_placed_fairly_and_no_unit_is_wasted() {
        for seed in 0..2_000 {
            let mut draw = Draw::new(seed);
            let tenants: Vec<TenantClaim> = (0..=draw.below(4))
                .map(|_| {
                    let quota = (draw.below(2) == 0).then(|| draw.below(20) as u32);
                    let tasks = (0..=draw.below(5)).map(|_| task(1 + draw.below(4) as u32, draw.below(3) as u32, draw.below(12) as u32));
                    tenant(1, quota, tasks.collect())
                })
                .collect();
            let weights: Vec<u32> = tenants.iter().map(|_| 1 + draw.below(4) as u32).collect();
            let tenants: Vec<TenantClaim> =
                tenants.into_iter().zip(weights).map(|(tenant, weight)| TenantClaim { weight, ..tenant }).collect();
            let pool = draw.below(60) as u32;
            check_fair(pool, &tenants, &place(pool, &tenants));
        }
    }
}
