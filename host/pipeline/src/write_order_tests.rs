use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::net::NetBuilder;
use crate::net::tests::{Rows, apply, complete, image, table};

/// Two tables with keys and one without.
const TABLES: [&str; 3] = ["one", "two", "keyless"];
const KEYLESS: usize = 2;

fn tables() -> [Arc<TargetTable>; 3] {
    std::array::from_fn(|index| {
        let like = table(index != KEYLESS);
        Arc::new(TargetTable { name: TableName::new("s", TABLES[index]), ..(*like).clone() })
    })
}

/// What a target holds: rows of the keyed tables, and how often each row of the other is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Held {
    keyed: [Rows; 2],
    keyless: BTreeMap<[u8; 3], i64>,
}

/// What a transaction changes once it is committed.
#[derive(Debug, Default)]
struct Effect {
    keyed: [BTreeMap<u8, Option<[u8; 3]>>; 2],
    keyless: BTreeMap<[u8; 3], i64>,
}

impl Held {
    /// What the steps do to what is committed now, with the checks that a target makes.
    fn effect(&self, steps: &[Step]) -> Effect {
        let mut after = self.clone();
        for step in steps {
            match step {
                Step::Truncate { tables } => tables.iter().for_each(|table| after.of(table, &[])),
                Step::Net { table, .. } | Step::Ordered { table, .. } => after.of(table, std::slice::from_ref(step)),
            }
        }
        let mut effect = Effect::default();
        for index in 0..2 {
            let keys: BTreeSet<u8> = self.keyed[index].keys().chain(after.keyed[index].keys()).copied().collect();
            let changed = keys.into_iter().filter(|key| self.keyed[index].get(key) != after.keyed[index].get(key));
            effect.keyed[index] = changed.map(|key| (key, after.keyed[index].get(&key).copied())).collect();
        }
        let rows: BTreeSet<[u8; 3]> = self.keyless.keys().chain(after.keyless.keys()).copied().collect();
        let times = |held: &Held, row: &[u8; 3]| held.keyless.get(row).copied().unwrap_or(0);
        effect.keyless = rows.into_iter().map(|row| (row, times(&after, &row) - times(self, &row))).collect();
        effect
    }

    /// Applies steps of one table; none empties it.
    fn of(&mut self, table: &TargetTable, steps: &[Step]) {
        let index = TABLES.iter().position(|name| *name == table.name.name).expect("the table is one of three");
        match (steps, index) {
            ([], KEYLESS) => self.keyless.clear(),
            ([], keyed) => self.keyed[keyed].clear(),
            (steps, KEYLESS) => steps.iter().for_each(|step| self.without_key(step)),
            (steps, keyed) => apply(&mut self.keyed[keyed], steps),
        }
    }

    fn without_key(&mut self, step: &Step) {
        let Step::Ordered { changes, .. } = step else { panic!("changes of keyless tables are in order") };
        for change in changes {
            let (gone, new) = match change {
                OrderedChange::Insert(new) => (None, Some(new)),
                OrderedChange::Delete(old) => (Some(old), None),
                OrderedChange::Update { old, new } => (old.as_ref(), Some(new)),
            };
            if let Some(gone) = gone {
                let times = self.keyless.entry(complete(gone)).or_default();
                *times -= 1;
                assert!(*times >= 0, "a deleted row exists");
            }
            if let Some(new) = new {
                *self.keyless.entry(complete(new)).or_default() += 1;
            }
        }
    }

    fn commit(&mut self, effect: Effect) {
        for (rows, changed) in self.keyed.iter_mut().zip(effect.keyed) {
            for (key, row) in changed {
                match row {
                    Some(row) => rows.insert(key, row),
                    None => rows.remove(&key),
                };
            }
        }
        for (row, times) in effect.keyless {
            let held = self.keyless.entry(row).or_default();
            *held += times;
            assert!(*held >= 0, "no row is there less than not at all");
        }
        self.keyless.retain(|_, times| *times != 0);
    }
}

/// Turns drawn numbers into a change that a source in this state can make, and makes it.
fn change(source: &mut Held, tables: &[Arc<TargetTable>; 3], net: &mut NetBuilder, drawn: (u8, u8, u8, u8)) {
    let (of, kind, id, value) = (usize::from(drawn.0) % 3, drawn.1 % 16, drawn.2 % 10, drawn.3);
    let whole = |row: [u8; 3]| image(row.map(Some));
    let row = [id, value % 4, 0];
    let change = if of == KEYLESS {
        let there = source.keyless.keys().nth(usize::from(id) % source.keyless.len().max(1)).copied();
        match (kind, there) {
            (0..=9, _) | (_, None) => OrderedChange::Insert(whole(row)),
            (10..=12, Some(old)) => OrderedChange::Delete(whole(old)),
            (_, Some(old)) => OrderedChange::Update { old: Some(whole(old)), new: whole(row) },
        }
    } else {
        let rows = &source.keyed[of];
        match (kind, rows.get(&id)) {
            (15, _) => {
                net.truncate(vec![tables[of].clone()]);
                return source.keyed[of].clear();
            }
            (_, None) => OrderedChange::Insert(whole(row)),
            (0..=3, Some(old)) => OrderedChange::Delete(whole(*old)),
            (4..=6, Some(old)) if !rows.contains_key(&(id + 10)) => {
                OrderedChange::Update { old: Some(whole(*old)), new: whole([id + 10, value, 0]) }
            }
            (_, Some(old)) => OrderedChange::Update { old: Some(whole(*old)), new: whole(row) },
        }
    };
    net.add(&tables[of], Strictness::Strict, change.clone()).expect("a source contradicts itself never");
    let step = Step::Ordered { table: tables[of].clone(), strictness: Strictness::Strict, changes: vec![change] };
    source.of(&tables[of], &[step]);
    source.keyless.retain(|_, times| *times != 0);
}

struct Flying {
    number: Number,
    after: Option<Number>,
    steps: Vec<Step>,
    effect: Option<Effect>,
}

/// A target on which each group is written as soon as it may be, and committed as late as possible.
struct Lanes {
    order: WriteOrder,
    target: Held,
    flying: VecDeque<Flying>,
    landed: Number,
    side_by_side: usize,
}

impl Lanes {
    fn write(&mut self) {
        for flying in &mut self.flying {
            if flying.effect.is_none() && flying.after.is_none_or(|after| after <= self.landed) {
                flying.effect = Some(self.target.effect(&flying.steps));
                self.side_by_side += usize::from(self.landed + 1 < flying.number);
            }
        }
    }

    fn commit_first(&mut self) {
        let first = self.flying.pop_front().expect("something is under way");
        self.target.commit(first.effect.expect("the first group waits for nobody"));
        self.landed = first.number;
        self.order.leave();
        self.write();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn groups_written_side_by_side_and_committed_in_order_end_like_one_after_the_other(
        groups in prop::collection::vec(prop::collection::vec(any::<(u8, u8, u8, u8)>(), 1..5), 1..40),
        lanes in 1_usize..9,
        distrusted in prop::option::of(0_usize..3),
    ) {
        let tables = tables();
        let mut source = Held::default();
        let mut apply =
            Lanes { order: WriteOrder::default(), target: Held::default(), flying: VecDeque::new(), landed: 0, side_by_side: 0 };
        distrusted.inspect(|index| apply.order.distrust(&tables[*index].name));
        for group in groups {
            let mut net = NetBuilder::default();
            group.into_iter().for_each(|drawn| change(&mut source, &tables, &mut net, drawn));
            if apply.flying.len() == lanes {
                apply.commit_first();
            }
            let steps = net.take_steps();
            let (number, after) = apply.order.enter(&steps);
            apply.flying.push_back(Flying { number, after, steps, effect: None });
            apply.write();
        }
        while !apply.flying.is_empty() {
            apply.commit_first();
        }
        prop_assert_eq!(&apply.target, &source);
        prop_assert!(apply.order.tables.is_empty(), "nothing is remembered of groups that are committed");
        prop_assert!(lanes > 1 || apply.side_by_side == 0);
    }
}

fn inserts(table: &Arc<TargetTable>, ids: &[u8]) -> Vec<Step> {
    let mut net = NetBuilder::default();
    for id in ids {
        net.add(table, Strictness::Strict, OrderedChange::Insert(image([Some(*id), Some(0), Some(0)]))).expect("ids differ");
    }
    net.take_steps()
}

#[test]
fn groups_wait_for_the_last_one_that_they_have_a_row_in_common_with() {
    let [one, two, keyless] = tables();
    let mut order = WriteOrder::default();
    assert_eq!(order.enter(&inserts(&one, &[1, 2])), (1, None));
    assert_eq!(order.enter(&[inserts(&one, &[3]), inserts(&two, &[1])].concat()), (2, None));
    assert_eq!(order.enter(&inserts(&one, &[2, 4])), (3, Some(1)));
    assert_eq!(order.enter(&[inserts(&one, &[1]), inserts(&two, &[1])].concat()), (4, Some(2)));
    assert_eq!(order.enter(&inserts(&keyless, &[1])), (5, None));
    assert_eq!(order.enter(&inserts(&keyless, &[1])), (6, None));
    assert_eq!(order.enter(&[Step::Truncate { tables: vec![keyless.clone()] }]), (7, Some(6)));
    assert_eq!(order.enter(&inserts(&keyless, &[1])), (8, Some(7)));
    (0..4).for_each(|_| order.leave());
    assert_eq!(order.enter(&inserts(&one, &[1, 2, 3, 4])), (9, None));
}

#[test]
fn changes_of_a_snapshots_window_come_after_everything_of_their_table() {
    let [one, two, _] = tables();
    let mut order = WriteOrder::default();
    assert_eq!(order.enter(&inserts(&one, &[1])), (1, None));
    let again = NetChange::Insert(image([Some(9), Some(0), Some(0)]));
    let idempotent = Step::Net { table: one.clone(), strictness: Strictness::Idempotent, changes: vec![again] };
    assert_eq!(order.enter(&[idempotent]), (2, Some(1)));
    assert_eq!(order.enter(&inserts(&one, &[3])), (3, Some(2)));
    assert_eq!(order.enter(&inserts(&two, &[3])), (4, None));
}

#[test]
fn distrust_of_a_table_ends_after_a_while() {
    let [one, two, _] = tables();
    let mut order = WriteOrder::default();
    let side_by_side = |order: &mut WriteOrder, table| {
        let (_, first) = order.enter(&inserts(table, &[1]));
        let (_, second) = order.enter(&inserts(table, &[2]));
        order.leave();
        order.leave();
        assert_eq!(first, None);
        second.is_none()
    };
    order.distrust(&one.name);
    assert!(!side_by_side(&mut order, &one) && side_by_side(&mut order, &two));
    (0..DISTRUST_GROUPS).for_each(|_| assert!(side_by_side(&mut order, &two)));
    assert!(side_by_side(&mut order, &one));
}

#[test]
fn another_description_of_a_table_comes_after_everything_of_the_one_before() {
    let [one, two, _] = tables();
    let mut order = WriteOrder::default();
    let otherwise = Arc::new(TargetTable { identity: vec![1], ..(*one).clone() });
    assert_eq!(order.enter(&inserts(&one, &[1])), (1, None));
    assert_eq!(order.enter(&inserts(&otherwise, &[2])), (2, Some(1)));
    assert_eq!(order.enter(&inserts(&otherwise, &[3])), (3, Some(2)));
    assert_eq!(order.enter(&inserts(&two, &[3])), (4, None));
}
