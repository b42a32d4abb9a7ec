"""The shapes of secrets: formats that issuers publish so that scanners can find them, and a few older conventions.

A pattern is RE2. The group `secret`, where there is one, is what is taken out; else all that matches.
"""

from __future__ import annotations

from collections.abc import Mapping

FORMATS: Mapping[str, str] = {
    # Keys as text
    "private-key": r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)"
    r"(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|$)",
    "age-key": r"AGE-SECRET-KEY-1[0-9A-Z]{58}",
    "putty-key": r"Private-Lines: [0-9]+\s(?:[A-Za-z0-9+/=]+\s)+",
    "jwt": r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    # Clouds
    "aws-key": r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b",
    "google-key": r"\bAIza[0-9A-Za-z_-]{35}",
    "google-oauth": r"\bya29\.[0-9A-Za-z_-]{20,}|\bGOCSPX-[0-9A-Za-z_-]{20,}|\b1//0[0-9A-Za-z_-]{30,}",
    "azure-secret": r"\b[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}",
    "azure-key": r"(?i:(?:account|sharedaccess)key=)(?P<secret>[A-Za-z0-9+/]{43,86}={0,2})",
    "digitalocean-token": r"\bdo[opr]_v1_[a-f0-9]{64}",
    "databricks-token": r"\bdapi[a-f0-9]{32}",
    "cloud-token": r"\b(?:HRKU-|sbp_|sb_secret_|dp\.(?:pt|st|ct|sa)\.|pul-|rnd_|nfp_|fo1_)[A-Za-z0-9_-]{20,}",
    # Code and packages
    "github-token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b",
    "gitlab-token": r"\bgl(?:pat|ptt|dt|rt|cbt|ft|imt|agent|oas|soat)-[A-Za-z0-9_-]{20,}",
    "npm-token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "pypi-token": r"\bpypi-[A-Za-z0-9_-]{32,}",
    "package-token": r"\b(?:rubygems_|oy2|dckr_pat_|dckr_oat_|cio)[A-Za-z0-9_-]{27,60}\b",
    "atlassian-token": r"\bATATT3[A-Za-z0-9_=-]{40,}|\bATBB[A-Za-z0-9]{32}\b",
    "vault-token": r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}",
    "terraform-token": r"\b[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,}",
    "postman-key": r"\bPMAK-[a-f0-9]{24}-[a-f0-9]{34}",
    # Chat and mail
    "slack-token": r"\bxox[abceoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}|\bxapp-[A-Za-z0-9-]{10,}",
    "webhook": r"https://(?:hooks\.slack\.com/(?:services|workflows)|(?:[a-z]+\.)?discord(?:app)?\.com/api/webhooks|"
    r"[a-z0-9-]+\.webhook\.office\.com)/(?P<secret>[A-Za-z0-9/@_+-]{16,})",
    "telegram-token": r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b",
    "discord-token": r"\b[MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}",
    "sendgrid-key": r"\bSG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}",
    "mailgun-key": r"\bkey-[a-f0-9]{32}\b",
    "twilio-key": r"\bSK[a-f0-9]{32}\b",
    # Money and shops
    "stripe-key": r"\b[rs]k_(?:live|test)_[0-9A-Za-z]{16,}|\bwhsec_[0-9A-Za-z+/=]{24,}",
    "square-token": r"\bsq0[a-z]{3}-[A-Za-z0-9_-]{22,}|\bEAAA[A-Za-z0-9_-]{60}",
    "shopify-token": r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",
    # Models and tools
    "vaultak-key": r"\bvtk_[A-Za-z0-9_-]{8,}",
    "sk-key": r"\bsk-[A-Za-z0-9_-]{20,}",
    "model-key": r"\b(?:hf_|gsk_|r8_|xai-|pplx-|nvapi-|lsv2_(?:pt|sk)_|tvly-|fw_)[A-Za-z0-9_-]{24,}",
    "tool-token": r"\b(?:lin_api_|ntn_|secret_|glsa_|glc_|figd_|phx_|dop_|NRAK-|PRIVATE-)[A-Za-z0-9_=-]{24,}",
    # Conventions
    "bearer": r"(?i:\b(?:bearer|basic)\s+)[A-Za-z0-9+/_.~-]{16,}=*",
    "url-credentials": r"\b[a-zA-Z][a-zA-Z0-9+.-]*://(?P<secret>[^\s/:@]*:[^\s/@]+)@",
    "curl-user": r"\bcurl\s(?:[^\n]*\s)?(?:-u|--user)[ =]?['\"]?(?P<secret>[^\s:'\"]+:[^\s'\"]+)",
    "sshpass": r"\bsshpass\s+-p\s*(?P<secret>[^\s'\"]+|'[^']*'|\"[^\"]*\")",
    "url-signature": r"[?&](?i:sig|signature|x-amz-signature|x-amz-security-token|x-goog-signature|key|code|auth)="
    r"(?P<secret>[A-Za-z0-9%+/=_.~-]{16,})",
}
