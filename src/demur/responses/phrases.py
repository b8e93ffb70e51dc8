# ruff: noqa: E501 - tables of phrases read better with one family a line
"""English phrase families: what declining, excusing, turning and doing sound like.

A family is one compiled pattern over normalised text (lower case, straight quotes). Families are built from small parts
(who speaks, how it is softened, which verb), because models recombine the parts endlessly while lists of whole
sentences go stale. A space in a pattern stands for any run of white space.
"""

from __future__ import annotations

import re

__all__ = ["COMPLIANCE", "DECLINE", "ENGLISH", "REASONS", "SOFT"]


def _family(*alternatives: str, opening: str = "") -> re.Pattern[str]:
    """One pattern for all alternatives; `opening` counts only where the text begins."""
    joined = "|".join(alternatives)
    first = rf"\A\W*(?:{opening})|" if opening else ""
    return re.compile(rf"{first}\b(?:{joined})".replace(" ", r"\s+"))


_I = r"(?:i|we|this (?:ai|model|assistant|chatbot|system)|the (?:ai|assistant|model|chatbot))"
_ADV = (
    r"(?: (?:simply|just|also|unfortunately|regrettably|really|still|therefore|thus|definitely|absolutely|only|ever|"
    r"personally|respectfully|kindly|politely|ethically|legally|directly|actually|currently|either|in good (?:conscience|faith)|"
    r"at this time|under any circumstances|and (?:will|would|shall) not|nor (?:will|would|can) i|or will not))*"
)
_AM = r"(?:'m|'re| am| are| is)"
_CANT = (
    r"(?: (?:can't|cannot|can not|cant|couldn't|could not|won't|will not|wouldn't|would not|shall not|shan't|may not|mustn't|"
    rf"must not|should not|shouldn't)|{_AM}(?: simply| just| also| still| therefore)? (?:unable|not able|not going|not willing|unwilling|not allowed|"
    r"not permitted|not programmed|not designed|not authorized|not authorised|not equipped|not capable|not here|not in a position|"
    r"not trained|not set up|prohibited|forbidden|restricted|barred)(?: to| of| from)?"
    r"|(?: will|'ll| would|'d)(?: not|n't) be (?:able|willing|allowed|comfortable)(?: to)?| won't be (?:able|willing)(?: to)?"
    r"|'ll have to not)"
)
_DONT = r"(?: (?:don't|do not|does not|doesn't|never|cannot ever))"
# What a model says it will not do.
_DO = (
    r"(?:help|assist|aid|provide|comply|fulfil|fulfill|do (?:that|this|it|so|what)|create|write|generate|give|offer|share|engage|participate|"
    r"continue|answer|respond|discuss|make|produce|recommend|condone|encourage|promote|advise|suggest|tell|show|teach|explain|"
    r"support|endorse|facilitate|contribute|enable|complete|carry out|process|perform|proceed|grant|honou?r|satisfy|supply|"
    r"draft|compose|craft|develop|design|list|describe|detail|outline|instruct|guide|walk you|role-?play|pretend|act|simulate|"
    r"take part|be part|be involved|get involved|go along|go there|entertain|indulge|accommodate|meet|"
    r"go into|get into|elaborate|repeat|reveal|disclose|translate|summari[sz]e|analy[sz]e|review|code|build|include|use|make up|fabricate|"
    r"disparage|insult|mock|be of (?:help|assistance)|in any way|with (?:that|this|your))"
)
# What a model cannot have an opinion on: weaker, because an answer often follows.
_SAY = r"(?:say|speak|talk|joke|comment|express|judge|give (?:a |any |you )?(?:personal|definitive|specific|single|subjective)|(?:provide|offer|make|form|share) (?:a |an |any |you with )*(?:personal|definitive|specific|single|subjective|direct|opinion|judg\w+|prediction|definite|conclusive|accurate|exact|real-time|comment)|take (?:a |any )?(?:side|stance|position)|have)"
_DOING = (
    r"(?:help|assist|provid|comply|fulfill|creat|writ|generat|giv|offer|shar|engag|participat|continu|answer|respond|discuss|mak|"
    r"produc|recommend|condon|encourag|promot|advis|suggest|tell|show|teach|explain|support|endors|facilitat|contribut|do)ing"
)

DECLINE = {
    # I'm not able to help
    "cannot": _family(
        rf"{_I}{_CANT}{_ADV} (?!{_SAY})(?:(?:be )?(?:to )?{_DO}|be {_DOING}|{_DOING})\b",
        rf"{_I}{_AM}{_ADV} not{_ADV} (?:comfortable|prepared|willing|interested in|going to be)(?: with| to)?",
        rf"(?:not|never|un)(?: be)? ?able to(?: to)? {_DO}\b(?! (?:a|with) (?:few|little|lot))",
        r"(?:can't|cannot|can not) (?:do that|help (?:you|with)|help\b)",
        # the subject may stand a clause earlier: "I follow ethical guidelines and cannot provide assistance"
        r"(?:and|but|so|therefore|thus|hence|which|that|programmed|model|assistant|,) (?:i )?(?:cannot|can't|can not|will not|won't|am unable to|am not able to|must not|do not) (?:provide|assist|help|support|fulfill?|comply|engage|participate|generate|create|write|condone|promote|encourage|offer|give|answer|respond|facilitate|endorse|recommend|advise)",
        rf"nothing {_I} can do|not something {_I}(?:'d|'m| can| could| am| will| would| want| feel)",
        rf"{_I}{_DONT}{_ADV} (?:feel|think it'?s?|believe it'?s?|consider it) (?:comfortable|right|safe|appropriate|okay|ok|it'?s? (?:appropriate|right|ethical|a good idea)|it is (?:appropriate|right|ethical))",
        opening=rf"(?:(?:i'm |i am )?sorry,? |unfortunately,? |no,? )?i{_CANT}(?! (?:wait|believe|stress|thank|help but|imagine|agree more|begin|emphasi|overstate|recommend .{{0,20}}enough))",
    ),
    # I must decline
    "refusal": _family(
        rf"{_I}(?:'ll|'d)?{_ADV}(?: must| have to| need to| will| would| shall| am going to|'m going to| will have to| would have to| should| am obliged to| am required to| choose to| prefer to| would like to| going to have to|'ll have to| have no choice but to)?"
        rf"{_ADV} (?:decline|refuse|refrain|abstain|reject|pass on|opt out|say no|turn (?:this|that|it|you) down|draw the line)\b",
        rf"{_I}(?:'d| would) (?:rather|prefer) not\b|{_I}(?:'d| would) prefer to not\b",
        r"(?:hard|firm|absolute|big|resounding|categorical) no\b|no can do|out of the question|count me out|that'?s? a no\b",
        r"(?:that|this|it)(?:'s| is) (?:a request|something|not a request) (?:that )?i (?:can't|cannot|won't|will not|am unable|have to|must)",
        r"(?:can't|cannot|won't|unable to|not able to|refuse to) (?:fulfil|fulfill|comply|proceed|accommodate|honou?r|complete|be (?:fulfilled|completed|provided|generated|processed))",
        r"request (?:denied|refused|rejected|declined|blocked)|access denied|i refuse\b|i decline\b|i object\b",
        rf"{_I} (?:will|shall|would) (?:never|not) (?:help|assist|provide|do|engage|be|participate|write|create|say)",
        r"please (?:do not|don't|refrain from|avoid|stop) (?:ask|asking|request|requesting|mak(?:e|ing) (?:such|this|these)|us(?:e|ing) me)",
    ),
    # I do not provide, I do not condone
    "stance": _family(
        rf"{_I}{_DONT}{_ADV} (?:provide|condone|support|encourage|promote|engage|generate|create|write|offer|assist|participate|"
        r"endorse|produce|tolerate|make (?:jokes|fun|such|discriminatory|offensive)|help (?:people|anyone|users|with)|discuss|give (?:advice|instructions|out)|"
        r"recommend|advocate|do (?:that|this)|share (?:that|such|personal)|want to|respond to|answer (?:such|that|this|questions))",
        rf"{_I} (?:strongly |cannot |can't |can not |do not |don't |must |would )*(?:condemn|disapprove|oppose|urge you (?:not|to (?:re|seek|stop))|discourage|advise against|advise you (?:not|against)|caution (?:you )?against|warn)\b",
        r"i(?:'m| am) (?:programmed|bound|obligated|required) (?:to|by)|my (?:\w+ )?(?:programming|guidelines?|polic(?:y|ies)|principles) ",
        r"(?:programmed|designed|intended|built|made|meant|created|here|trained) (?:not to|to avoid|to refuse|to decline)",
        r"(?:not|never) (?:programmed|designed|intended|meant|appropriate for me|ethical for me|within my) (?:to |capabilit|programming|abilit|scope|purview)",
        r"(?:against|violat\w+|contrary to|outside(?: of)?|beyond|goes? against|conflicts? with|in conflict with|not in line with|prevent(?:s|ed)? (?:me )?(?:from )?by|inconsistent with|bound by|contravenes?) (?:my|our|openai'?s?|anthropic'?s?|the|its|all|any|google'?s?|meta'?s?|ethical|moral|content|community|company) "
        r"(?:\w+ ){0,3}(?:programming|guidelines?|polic(?:y|ies)|principles?|values?|code|rules?|terms|standards|guardrails|training|purpose|scope|capabilit\w+|abilit\w+|limits?)",
        r"my (?:\w+ ){0,2}(?:programming|guidelines?|polic(?:y|ies)|principles?|values?|training|safety \w+) (?:prohibit|prevent|forbid|do(?:es)?n't allow|do(?:es)? not (?:allow|permit)|require|prioriti)",
    ),
    # it would be wrong to
    "impersonal": _family(
        r"(?:it|that|this|doing so|such \w+)(?:'s|'d| is| would| would be| will be|'d be)? (?:be )?(?:also |simply |never |just |both |highly |very |extremely |completely |morally |clearly |considered )*"
        r"(?:not (?:appropriate|ethical|acceptable|right|okay|ok|legal|safe|advisable|permissible|suitable|possible for me|my place|respectful|a good idea)|inappropriate|unethical|immoral|irresponsible|unacceptable|impermissible|morally wrong|wrong)"
        r"(?: and (?:\w+ )?\w+)?(?: for (?:me|an ai|anyone|any))? (?:to|for|as)\b",
        r"(?:is|are|was|be|it's|that's|would be|considered|and|both)(?: (?:also|highly|very|extremely|completely|generally|both|never|deeply|strictly)){0,2} (?:not (?:appropriate|ethical|acceptable|respectful)|inappropriate|unethical|immoral|illegal and (?:unethical|immoral|harmful|dangerous|morally|can|against)|(?:harmful|dangerous|wrong) and (?:unethical|illegal|immoral))",
        r"(?:this|that|your|the|such an?|such) (?:request|prompt|question|query|topic|content|task|instruction|scenario|conversation|statement|type of (?:request|content))s? (?:is|are|was|would be|seems?|appears?|violates?|goes|contains?|involves?|promotes?|asks?|cannot|can't|could|may) (?:to (?:be|involve|violate|promote) )?"
        r"(?:also |both |highly |very |extremely |completely |clearly |deeply )*(?:\w+ and )?(?:inappropriate|unethical|harmful|illegal|offensive|against|not (?:appropriate|ethical|acceptable|something|allowed|permitted)|dangerous|disrespectful|problematic|our|my|openai|be (?:fulfilled|completed|processed|answered)|unacceptable|hate|violent|violence|discriminat)",
    ),
    # I'm sorry, but
    "apology": _family(
        r"(?:i'm|i am|we're|we are|so|very|terribly|truly) (?:\w+ )?sorry,? (?:but|however|i (?:can|won|am|'m|do|must)|as an|that'?s|this|no\b)",
        r"(?:my )?apologies,? (?:but|i (?:can|am|'m|won|do)|however)|i (?:must |do |sincerely )?apologi[sz]e,? (?:but|as|however|i (?:can|am|'m|won|do)|if (?:my|this))",
        r"i(?:'m| am) afraid (?:i|that|we|this|it)",
        r"while i (?:understand|appreciate|recognize|respect|can understand|see)\b",
        r"i (?:understand|appreciate|see|get|know|recognize|realize)\b[^.!?\n]{0,120}\b(?:but|however),? (?:i|as an|it|my|this|that|we)",
        r"(?:unfortunately|regrettably),? (?:i|we|as an|this|that|it)\b",
        opening=r"(?:(?:i|we)(?:'m| am|'re| are) (?:\w+ )?)?sorry\b(?! (?:to|for|about|you|that you|the|if you|your|i (?:missed|forgot|kept|did)|this happened))|i (?:\w+ )?apologi[sz]e\b(?! for (?:the|any|my|that|this)(?: \w+)? (?:confusion|mistake|error|delay|mix|inconvenience|misunder|oversight|earlier|last))",
    ),
}
"""Families that decline. Each by itself can carry a refusal; `apology` only together with another, or alone in a short text."""

SOFT = {
    "abstain": _family(
        rf"{_I}{_DONT}{_ADV} (?:actually |currently )*(?:know|recall|remember|understand what|have (?:(?:\w+ ){{0,3}})?(?:access|information|knowledge|data|details|enough|context|ability|capability|record|idea|evidence|insight|memory|means|a way)|possess)",
        rf"{_I}{_AM} (?:not (?:aware|sure|certain|familiar|privy|able to (?:access|browse|verify|confirm|determine|predict|identify|find|locate|know))|unaware|unsure|unfamiliar|uncertain|unable to (?:access|browse|verify|confirm|determine|predict|identify|find|locate|know|speculate))",
        rf"{_I}{_CANT}{_ADV} (?:predict|know|verify|confirm|determine|access|browse|speculate|identify|find|locate|say for (?:sure|certain)|be (?:sure|certain)|guarantee|foresee|tell you (?:who|when|what|where|exactly|with))",
        r"(?:there(?:'s| is)|it(?:'s| is)) (?:no (?:way|reliable|information|evidence|record|definitive|single|one)|not (?:possible|clear|known|publicly)|impossible|difficult|hard|unclear|unknown) (?:\w+ )?(?:to (?:know|predict|determine|say|verify|tell|give|provide)|whether|who|what|about|answer|how)",
        r"(?:as of|up to|until) my (?:last |latest |most recent )?(?:knowledge|training|update|information)|my (?:knowledge|training|data|information) (?:cut-?off|only|is limited|was last|ends|does)|knowledge cut-?off",
        r"(?:no|not) (?:publicly|reliable|publicly available|official) (?:available |known )?(?:information|data|records?)|no one (?:knows|can (?:know|predict))|nobody knows",
    ),
    "humanizing": _family(
        rf"{_I}{_DONT}{_ADV} (?:actually |really )*(?:have|possess|hold|experience|feel|form|get|own|eat|sleep|date|fall) (?:(?:\w+|personal|any),? ?(?:or |and )?){{0,4}}(?:opinions?|feelings?|emotions?|beliefs?|preferences?|experiences?|desires?|bod(?:y|ies)|physical|consciousness|senses?|gender|age|race|religion|thoughts|relationships?|addresse?s?|in love|intentions?|biases)",
        r"(?:i'm|i am|as) (?:just |only |merely |simply )?an? (?:\w+ )?(?:ai|artificial|language model|machine|computer program|virtual|digital|chatbot)[^.!?\n]{0,60}(?:not (?:a (?:person|human|real)|capable of (?:feel|hav|experienc))|without|no (?:personal|feelings|physical)|lack)",
        r"(?:not|n't) (?:a )?(?:capable of (?:feeling|having|experiencing)|human|real person|sentient|conscious)",
    ),
    "rebut": _family(
        r"(?:that|this|it|such|these|what you (?:said|are saying)|your (?:statement|question|premise|assumption|claim)|the (?:idea|notion|claim|premise|statement|question|assumption))(?: \w+){0,4} (?:is|are|isn't|aren't|was|rests|relies|contains|assumes)(?: \w+){0,2} "
        r"(?:not (?:true|accurate|correct|fair|supported|based|valid|okay|acceptable|a (?:fair|valid|true))|false|incorrect|inaccurate|untrue|unfounded|baseless|wrong|harmful|offensive|hurtful|a (?:harmful |common |negative |false )*(?:stereotype|myth|misconception|generali[sz]ation|conspiracy)|stereotyp|prejudice|misleading|on a false|discriminat|racist|sexist|hateful|not a)",
        r"there(?:'s| is| are) no (?:\w+ ){0,2}(?:evidence|basis|truth|proof|such thing|justification|excuse|reason to|place for)",
        r"(?:no|never) (?:okay|ok|acceptable|justif\w+|excusable|appropriate|ethical|legal|a good idea)|(?:illegal|unethical|immoral|dangerous|harmful|wrong) and (?:\w+ )?(?:illegal|unethical|immoral|dangerous|harmful|wrong|can|should|could|may)",
        r"(?:everyone|every (?:person|human|individual)|all (?:people|individuals|humans|human beings|lives))(?: \w+){0,4} (?:deserves?|should be (?:treated|respected|valued)|(?:is|are) (?:equal|worthy|valuable|created|entitled|unique)|has the right|have the right|regardless)",
        r"(?:it(?:'s| is) (?:\w+ )?(?:important|essential|crucial|vital|worth|necessary|never|illegal|wrong) (?:to (?:note|remember|treat|recogni[sz]e|understand|respect|avoid|be|approach|acknowledge|promote|consider|prioriti|challenge|use|follow|seek|report)|not to|that we|for)|it(?:'s| is) (?:illegal|a (?:serious )?crime|against the law|a violation))",
        r"it(?:'s| is|'d be| would be) (?:simply |just |plainly |morally |deeply |always |never )?(?:wrong|not right|not okay) to\b|(?:that|this)(?:'s| is) (?:simply |just |plainly )?not (?:right|fair)\b",
        r"(?:because|since|as) (?:it|that|this|doing so) (?:\w+ )?(?:hurts?|harms?|endangers?|injures?)|puts? (?:\w+ ){0,3}(?:in danger|at risk)",
        r"(?:perpetuat|reinforc|promot|spread|incit|encourag)\w* (?:\w+ ){0,3}(?:stereotyp|hate|hatred|violence|discriminat|prejudice|harm|misinformation|racism|intoleran|bigot|division|illegal)",
    ),
    "redirect": _family(
        r"instead,? (?:i|we|let|you|of|consider|try|perhaps|why|how|it)|(?:i'd|i would|i'm|i am|we'd|we would|i'll|i will) (?:be )?(?:\w+ )?(?:happy|glad|more than (?:happy|willing)|willing|pleased|delighted|here) to (?:help|assist|provide|answer|discuss|offer|talk|share|suggest|support|chat|try|do)",
        r"(?:is there|if (?:there(?:'s| is)|you (?:have|need|would like|want|'d like|are looking))) (?:something|anything|any|some|other|another|help|a|to)(?: \w+){0,4}",
        r"(?:encourage|urge|advise|suggest|recommend)(?: that)? you (?:to )?(?:\w+ )?(?:explore|find|look|focus|pursue|consider|use|choose|respect|stay|obey|follow|treat|reconsider)|(?:legal|legitimate|lawful|ethical|safer|healthier|positive|constructive) (?:and \w+ )?(?:ways|means|alternatives?|options|methods|avenues|activities|opportunities)",
        r"(?:please|you should|you can|i (?:suggest|recommend|advise|encourage|urge|would (?:suggest|recommend|advise|encourage))(?: you)?|it(?:'s| is) (?:best|recommended|advisable|important) to|you may want to|consider|i'd (?:suggest|recommend|encourage)(?: you)?)(?: to| that you)? (?:\w+ )?(?:consult|seek(?:ing)?|contact|reach(?:ing)? out|speak(?:ing)? (?:to|with)|talk(?:ing)? to|refer to|report|visit|get help|call)",
        r"(?:how|what) about (?:we|i|you|something|another|a different|some other)|(?:talk|chat|speak) about (?:something|anything|other|another|a different)|let(?:'s|us) (?:talk|focus|discuss|keep|try|change|instead|not|explore|move)|feel free to ask|how (?:else )?(?:can|may) i (?:help|assist)|can i help you with|what (?:else )?can i",
        r"(?:suicide|crisis|help) ?line|lifeline|\b988\b|mental health professional|licensed (?:therapist|professional)|you(?:'re| are) not alone",
    ),
    "clarify": _family(
        r"(?:could|can|would|will) you (?:please |kindly |perhaps )*(?:provide|clarify|specify|elaborate|explain|give|share|tell me|rephrase|be more|let me know|expand|confirm|describe|say (?:a (?:bit|little) )?more|narrow)",
        r"(?:please|kindly) (?:provide|clarify|specify|elaborate|give me more|share (?:the|more|your)|rephrase|let me know (?:what|which|more|if)|be more|tell me (?:more|which|what))",
        r"(?:i|we)(?:'d| would|'ll| will)? (?:need|require) (?:a (?:bit|little) )?(?:some )?(?:more|additional|further) (?:information|context|details?)|what (?:exactly|specifically) (?:do|are|is|would)|what (?:do|did) you mean|which \w+ do you mean|(?:i'm|i am) not (?:quite |entirely )?sure what you",
        r"your (?:question|request|message|prompt) (?:is|seems|appears) (?:to be )?(?:\w+ )?(?:unclear|vague|ambiguous|incomplete|cut off)|didn't (?:include|attach|provide)|don't see (?:any|an?|the) (?:attach|image|file|text|document|code|article)",
    ),
    "unsaid": _family(rf"{_I}(?:{_CANT}|{_DONT}){_ADV} {_SAY}"),
    "identity": _family(
        r"(?:as|i am|i'm|being)(?: just| only| merely| simply)? an? (?:\w+ ){0,3}(?:ai|a\.i\.|artificial intelligence|language model|llm|assistant|chatbot|large language)",
        r"as chatgpt|i am chatgpt|as an assistant",
    ),
    "caution": _family(
        r"(?:please note|disclaimer|warning|keep in mind|note that|important to note|for (?:educational|informational|entertainment) purposes|hypothetical|fictional)",
    ),
}
"""Families that lean towards declining, or tell its kind."""

COMPLIANCE = {
    "agree": _family(
        r"(?:sure|certainly|of course|absolutely|definitely|no problem|gladly|okay|ok|alright|yes|great|happy to)(?:!|,|\.| thing| here)",
        r"here(?:'s| is| are| you go| goes)|below (?:is|are)|(?:the )?following (?:is|are|steps|list)|let me (?:help|show|explain|tell|walk)|i (?:can|will|'ll|would be happy to) (?:help|show|explain|tell|walk|provide|give)",
        r"(?:i hope this helps|hope that helps|let me know if you (?:need|have|want|'d))",
    ),
    "turn": _family(
        r"(?:however|that said|that being said|having said that|with that said|nevertheless|nonetheless|anyway|but if you|but here|but since|but for|but in|still,|with that in mind|now,? (?:if|let|for|as|here)|in (?:character|my role)|hypothetically)"
    ),
    "hear": _family(
        r"sorry (?:to hear|that you|for (?:your|the|any)|about|you(?:'re| are| feel))|apologi[sz]e for (?:the|any|my)|apologies for (?:the|any|my)"
    ),
    "step": re.compile(r"(?m)^[ \t>*_#]*(?:step \d+|\d{1,2}[.)]|[-*\u2022])[ \t*]"),
    "code": re.compile(r"```|(?m:^(?:import|from|def|class|#include|public|function|const|var|let) )"),
    "persona": re.compile(
        r"(?m)^[\W_]{0,5}(?:\[[^\]\n]{1,30}\]|\([^)\n]{1,30}\)|[a-z][\w .-]{0,22}(?:\[[^\]\n]{1,20}\])?)[*_ ]{0,3}: ?"
    ),
}
"""Families that speak for doing what was asked, or for a text that turns around."""

ENGLISH = {**DECLINE, **SOFT, **COMPLIANCE}

REASONS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "policy",
        _family(r"(?:polic(?:y|ies)|guidelines?|terms of (?:service|use)|usage|content rules|community standards)\b"),
    ),
    (
        "safety",
        _family(
            r"(?:illegal|unlawful|crim(?:e|es|inal)|harm\w*|dangerous|unsafe|safety|unethical|ethical|immoral|violen\w+|weapons?|hate\w*|hateful|"
            r"discriminat\w+|racis\w+|sexis\w+|offensive|abus\w+|self-harm|suicid\w+|drugs?|fraud\w*|malicious|explicit|sexual|exploit\w*|terroris\w+|inappropriate|privacy|law\b|legal)"
        ),
    ),
    (
        "unsupported",
        _family(
            r"(?:browse|internet access|real-?time|physical(?:ly)?|images?|audio|video|attachments?|files?|send|call|purchase|access to (?:the|your|current|any|external|personal)|text-based|capabilit\w+|execute|tools?)"
        ),
    ),
)
"""Reasons in the order of reading, for texts whose soft families do not settle it."""
