//! The account: its user, and what it subscribes to.

use serde_json::{Value, json};

use super::state::Workspace;
use tower_throttle_plans::elevenlabs::Plan;

/// When credits are due again, seen from the start of the mock: nobody waits for that.
const MONTH_SECONDS: u64 = 30 * 86_400;

/// Every field that any client is known to insist on, at a time in seconds of Unix.
pub(super) fn subscription(workspace: &Workspace, now_unix: u64) -> Value {
    let tier = workspace.tier();
    let free = workspace.plan == Some(Plan::Free);
    let status = match (free, workspace.suspicious) {
        (true, true) => "free_disabled",
        (true, false) => "free",
        (false, _) => "active",
    };
    let period = (!free).then_some("monthly_period");
    json!({
        "tier": tier.name,
        "character_count": workspace.used,
        "character_limit": workspace.quota,
        "max_character_limit_extension": 0,
        "max_credit_limit_extension": 0,
        "can_extend_character_limit": false,
        "allowed_to_extend_character_limit": false,
        "next_character_count_reset_unix": now_unix + MONTH_SECONDS,
        "voice_slots_used": workspace.own_voices(),
        "professional_voice_slots_used": 0,
        "professional_voice_slots_used_in_workspace": 0,
        "voice_limit": tier.voices,
        "max_voice_add_edits": null,
        "voice_add_edit_counter": workspace.additions,
        "professional_voice_limit": tier.professional_voices,
        "can_extend_voice_limit": false,
        "can_use_instant_voice_cloning": tier.can_clone,
        "can_use_professional_voice_cloning": tier.professional_voices > 0,
        "currency": "usd",
        "current_overage": {"amount": "0", "currency": "usd"},
        "status": status,
        "billing_period": period,
        "character_refresh_period": "monthly_period",
        "next_invoice": null,
        "open_invoices": [],
        "has_open_invoices": false,
        "cancels_immediately": false,
        "pending_change": null,
        "has_used_starter_coupon_on_account": false,
        "has_used_creator_coupon_on_account": false,
        "is_eligible_for_starter_promo": false,
    })
}

pub(super) fn user(workspace: &Workspace, now_unix: u64) -> Value {
    let mut subscription = subscription(workspace, now_unix);
    if let Some(fields) = subscription.as_object_mut() {
        // These are only in the subscription's own answer.
        fields.remove("open_invoices");
        fields.remove("has_open_invoices");
    }
    json!({
        "user_id": format!("user-{}", workspace.name),
        "workspace_id": workspace.name,
        "subscription": subscription,
        "subscription_extras": {},
        "is_new_user": false,
        "xi_api_key": "",
        "can_use_delayed_payment_methods": false,
        "is_onboarding_completed": true,
        "is_onboarding_checklist_completed": true,
        "show_compliance_terms": false,
        "first_name": "Mock",
        "is_api_key_hashed": true,
        "xi_api_key_preview": null,
        "referral_link_code": null,
        "partnerstack_partner_default_link": null,
        "created_at": 0,
        "seat_type": "workspace_admin",
    })
}
