//! A plan as it is printed: for people, and as JSON.

use serde::Serialize;

use super::capacity::{PlannedLoad, with_spare};
use super::figures;

/// A whole plan.
#[derive(Debug, Serialize)]
pub(super) struct CapacityPlan {
    /// The servers, whose figures are those of the plan.
    #[serde(flatten)]
    pub(super) servers: PlannedTier,
    /// The proxy in front of them.
    pub(super) tidegate: PlannedTier,
    pub(super) assumptions: Vec<Assumption>,
    pub(super) notes: Vec<String>,
}

/// Instances of one kind.
#[derive(Debug, Serialize)]
pub(super) struct PlannedTier {
    instances: u64,
    /// Of them, those that may be away at the peak.
    spare: u64,
    cores: u64,
    cores_each: u64,
    memory_bytes: u64,
    memory_bytes_each: u64,
    /// The need that asks for the most.
    decides: TierNeed,
    needs: Vec<TierNeed>,
}

/// The instances that one assumption asks for.
#[derive(Debug, Clone, Serialize)]
pub(super) struct TierNeed {
    pub(super) by: &'static str,
    pub(super) instances: u64,
    pub(super) because: String,
    pub(super) source: String,
}

/// A figure that the plan rests on.
#[derive(Debug, Serialize)]
pub(super) struct Assumption {
    pub(super) name: &'static str,
    pub(super) value: String,
    /// The flag, or where else it comes from.
    pub(super) source: String,
}

impl PlannedTier {
    /// Instances for all of these needs.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn from_needs(
        needs: Vec<TierNeed>,
        load: &PlannedLoad,
        (cores, memory): (u64, u128),
    ) -> Result<Self, String> {
        // Of two that ask for the same, the first decides.
        let most = needs.iter().rev().max_by_key(|need| need.instances).cloned();
        let decides = most.ok_or("what a server does is missing")?;
        let instances = with_spare(decides.instances, load);
        let memory_all = memory.saturating_mul(u128::from(instances));
        let whole = |bytes: u128| u64::try_from(bytes).unwrap_or(u64::MAX);
        Ok(Self {
            instances,
            spare: instances.saturating_sub(decides.instances),
            cores: cores.saturating_mul(instances),
            cores_each: cores,
            memory_bytes: whole(memory_all),
            memory_bytes_each: whole(memory),
            decides,
            needs,
        })
    }

    fn tier_text(&self) -> String {
        let TierNeed { by, because, source, .. } = &self.decides;
        let spare = match self.spare {
            0 => String::new(),
            spare => format!("  of which {spare} to spare"),
        };
        let mut text = format!("  instances  {}{spare}\n", self.instances);
        text.push_str(&format!("  cores      {}  {} each\n", self.cores, self.cores_each));
        let size = |bytes: u64| figures::show_size(u128::from(bytes));
        let (all, each) = (size(self.memory_bytes), size(self.memory_bytes_each));
        text.push_str(&format!("  memory     {all}  {each} each\n"));
        text.push_str(&format!("  decided by {by}: {because} ({source})\n"));
        for other in self.needs.iter().filter(|need| need.by != *by) {
            let TierNeed { by, instances, because, .. } = other;
            text.push_str(&format!("             {by} alone would take {instances}: {because}\n"));
        }
        text
    }
}

impl CapacityPlan {
    /// The plan for people.
    pub(super) fn plan_text(&self) -> String {
        let mut text = format!("servers\n{}", self.servers.tier_text());
        text.push_str(&format!("tidegate in front of them\n{}", self.tidegate.tier_text()));
        text.push_str("assumptions\n");
        for Assumption { name, value, source } in &self.assumptions {
            text.push_str(&format!("  {name:<12} {value:<10} {source}\n"));
        }
        for note in &self.notes {
            text.push_str(&format!("note: {note}\n"));
        }
        text
    }
}
