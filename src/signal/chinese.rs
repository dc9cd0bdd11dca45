//! What refusals in Chinese say, of which there are many among the APIs of models.
//!
//! Their words are not set apart by blanks, so phrases are looked for anywhere in a text. Each says what has
//! happened: advice such as "reduce your concurrency" is none.

/// That there were too many requests at the same time.
const CONCURRENCY: [&str; 6] = [
    "并发数过高",
    "并发数过多",
    "并发请求过多",
    "超过并发",
    "达到并发",
    "并发超限",
];

/// That nothing is left of what was paid for.
const CREDITS: [&str; 7] = [
    "余额不足",
    "已欠费",
    "额度不足",
    "额度已用完",
    "额度已用尽",
    "配额已用完",
    "配额已用尽",
];

pub(super) fn is_about_concurrency(text: &str) -> bool {
    says_one(text, &CONCURRENCY)
}

pub(super) fn names_no_credits(text: &str) -> bool {
    says_one(text, &CREDITS)
}

fn says_one(text: &str, phrases: &[&str]) -> bool {
    !text.is_ascii() && phrases.iter().any(|phrase| text.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_no_refusal_for_concurrency() {
        assert!(is_about_concurrency(
            "您当前使用该API的并发数过高，请降低并发"
        ));
        assert!(!is_about_concurrency("请求过于频繁，请降低并发"));
        assert!(!is_about_concurrency(
            "您的账户已达到速率限制，请您控制请求频率"
        ));
    }

    #[test]
    fn credits_are_used_up_where_it_says_so() {
        assert!(names_no_credits("您的账户已欠费，请充值后重试。"));
        assert!(names_no_credits("用户额度不足, 剩余额度: 0"));
        assert!(!names_no_credits("剩余额度: 12"));
        assert!(!names_no_credits("当前分组上游负载已饱和，请稍后再试"));
    }
}
