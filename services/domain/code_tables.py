"""Codes that mean the same for us, and what senders call observations.

Equivalence is clinical, for trends and models: the same quantity in blood, serum or plasma, by whatever method.
The code as sent stays in `Observation.original`. Not merged: venous or capillary blood gases with arterial ones,
ionised with total calcium, urine with blood.
"""

_SAME: dict[str, str] = {
    "8867-4": "8889-8 8893-0 76282-3 69000-8 69001-6",
    "8310-5": "8331-1 8328-7 8332-9 8333-7 8329-5 8334-5 75539-7 8330-3",
    # Invasive and cuff pressures are one series: the models and NEWS2 read whichever a bed has.
    "8480-6": "76215-3 76534-7 8459-0 8460-8 8461-6",
    "8478-0": "76214-6 76536-2",
    "8462-4": "76213-8 76535-4 8453-3 8454-1 8455-8",
    "1925-7": "11555-0",
    # Laboratories report total CO2 as bicarbonate; it is 1 to 2 mmol/L higher.
    "1963-8": "1959-6 1960-4 2028-9 20565-8",
    "3150-6": "19994-3",
    "2744-1": "11558-4",
    "2019-8": "11557-6",
    "2703-7": "11556-8",
    "1920-8": "30239-8 88112-8",
    "1742-6": "1743-4 1744-2",
    "6768-6": "1783-0",
    "3094-0": "6299-2 22664-7 14937-7",
    "17861-6": "49765-1 2000-8",
    "2075-0": "2069-3",
    "2160-0": "38483-4 14682-9 59826-8",
    "1968-7": "14629-0",
    "1975-2": "14631-6 42719-5",
    "2345-7": "2339-0 41653-7 14749-6 15074-8 2340-8 2341-6 32016-8 14743-9 1558-6 14771-0",
    "2524-7": "2518-9 2519-7 32693-4 14118-4 59032-3",
    "19123-9": "2601-3",
    "2777-1": "14879-1",
    "2823-3": "6298-4",
    "2951-2": "2947-0",
    "10839-9": "42757-5 49563-0 89579-7",
    "6598-7": "48425-3 67151-1",
    "4544-3": "20570-8 4545-0 71833-8",
    "718-7": "30313-1 20509-6 55782-7 59260-0 30350-3",
    "6690-2": "26464-8 804-5 49498-9",
    "777-3": "26515-7 778-1 49497-1",
    "14979-9": "3173-2",
    "1751-7": "61151-7 61152-5 2862-1 54347-0",
    "2093-3": "14647-2",
    "29463-7": "3141-9 3142-7 8335-2 8350-1 8351-9",
    "8302-2": "3137-7 3138-5 8306-3 8301-4",
    # Not among the variables, but senders use several codes.
    "2085-9": "14646-4",
    "2571-8": "14927-8",
}
EQUIVALENT: dict[str, str] = {other: loinc for loinc, others in _SAME.items() for other in others.split()}
"""LOINC as sent -> the canonical sibling. Codes in moles come with mole units and are converted by molar mass."""

_LOCAL: dict[str, str] = {
    "8867-4": "hr|pulse|heart rate|heartrate|pulse rate|heart beat|puls|ecg hr|hr ecg",
    "59408-5": "spo2|o2sat|o2 sat|sats|oxygen saturation|pulse ox|pulse oximetry|spo2%|sp o2",
    "8310-5": "temp|temperature|body temperature|body temp|tmp|tempc",
    "8480-6": "sbp|systolic|systolic bp|systolic blood pressure|nibp systolic|nbp systolic|sys bp|abp systolic",
    "8478-0": "map|mbp|mean arterial pressure|mean bp|nibp mean|mean blood pressure|abp mean",
    "8462-4": "dbp|diastolic|diastolic bp|diastolic blood pressure|nibp diastolic|dia bp|bp diastolic|abp diastolic",
    "9279-1": "rr|resp|resp rate|respiratory rate|respiration rate|respirations|breathing rate",
    "19889-5": "etco2|et co2|end tidal co2|end tidal carbon dioxide",
    "1925-7": "be|base excess|baseexcess|abe",
    "1963-8": "hco3|bicarbonate|bicarb|total co2|tco2|carbon dioxide|co2 total",
    "3150-6": "fio2|insoxy|inspired oxygen|inspired o2|fraction of inspired oxygen",
    "2744-1": "arterial ph|art ph|ph arterial|abg ph|blood ph",
    "2019-8": "paco2|arterial pco2|pco2 arterial|abg pco2|pco2",
    "2703-7": "pao2|arterial po2|po2 arterial|abg po2|po2",
    "2708-6": "sao2|arterial oxygen saturation|arterial o2 saturation",
    "1920-8": "ast|sgot|aspartate aminotransferase|aspartate transaminase|got",
    "1742-6": "alt|sgpt|alanine aminotransferase|alanine transaminase|gpt",
    "6768-6": "alp|alk phos|alkaline phosphatase|alkalinephos|alkphos",
    # SI senders' "urea" comes in mmol/L, whose conversion to nitrogen needs no ratio. A site that reports urea by
    # mass maps its code to 3091-6 in its own alias table.
    "3094-0": "bun|urea|urea nitrogen|blood urea nitrogen|serum urea|urea level",
    "17861-6": "calcium|ca|total calcium|serum calcium",
    "2075-0": "chloride|cl|serum chloride",
    "2160-0": "creatinine|creat|crea|serum creatinine|cr|creatinine level",
    "1968-7": "direct bilirubin|bilirubin direct|conjugated bilirubin|dbil",
    "1975-2": "bilirubin|total bilirubin|bilirubin total|tbil|bili|bilirubin tot",
    "2345-7": "glucose|glu|blood glucose|blood sugar|serum glucose|random glucose|fasting glucose|gluc",
    "2524-7": "lactate|lactic acid|lac|serum lactate|arterial lactate",
    "19123-9": "magnesium|mg|serum magnesium",
    "2777-1": "phosphate|phosphorus|phos|po4|inorganic phosphate|serum phosphate",
    "2823-3": "potassium|k|k+|serum potassium",
    "2951-2": "sodium|na|na+|serum sodium",
    "10839-9": "troponin i|trop i|troponini|tni|hs troponin i|ctni",
    "6598-7": "troponin t|trop t|troponint|tnt|hs troponin t|ctnt",
    "4544-3": "hct|hematocrit|haematocrit|pcv|packed cell volume",
    "718-7": "hgb|hb|hemoglobin|haemoglobin",
    "14979-9": "ptt|aptt|partial thromboplastin time|activated partial thromboplastin time",
    "6690-2": "wbc|wcc|white cell count|white blood cell count|white blood cells|leukocytes|leucocytes|wbc count",
    "3255-7": "fibrinogen|fib",
    "777-3": "platelets|plt|platelet count|plts|thrombocytes",
    "1751-7": "albumin|alb|serum albumin",
    "2093-3": "cholesterol|total cholesterol|chol|serum cholesterol",
    "9269-2": "gcs|glasgow coma scale|glasgow coma score|gcs total|glasgow coma score total",
    "9187-6": "urine|urine output|urineoutput|uop",
    "29463-7": "weight|wt|body weight|weight kg",
    "8302-2": "height|ht|body height|height cm",
    # Beyond the variables: what simulators and laboratories send most.
    "1988-5": "crp|c reactive protein|c reactive protein level",
    "789-8": "rbc|red cell count|red blood cell count|red blood cells|erythrocytes",
    "787-2": "mcv|mean cell volume|mean corpuscular volume",
    "785-6": "mch|mean cell haemoglobin|mean corpuscular hemoglobin|mean cell hemoglobin",
    "786-4": "mchc",
    "751-8": "neutrophils|neutrophil count",
    "731-0": "lymphocytes|lymphocyte count",
    "742-7": "monocytes|monocyte count",
    "711-2": "eosinophils|eosinophil count",
    "704-7": "basophils|basophil count",
    "770-8": "neutrophils per|neutrophils %",
    "736-9": "lymphocytes per|lymphocytes %",
    "5905-5": "monocytes per|monocytes %",
    "713-8": "eosinophils per|eosinophils %",
    "706-2": "basophils per|basophils %",
    "33914-3": "egfr|egfr mdrd|estimated gfr",
    "2085-9": "hdl|hdl cholesterol|hdl chol",
    "13457-7": "ldl chol calc|ldl cholesterol calc|ldl calculated",
    "2571-8": "triglyceride|triglycerides|trig",
    "3151-8": "oxyl|oxygen flow|oxygen flow rate|o2 flow",
    "67775-7": "avpu|level of responsiveness",
    "72514-3": "pain level|pain score|pain severity",
    "6301-6": "inr",
    "33959-8": "procalcitonin|pct",
    "8327-9": "temperaturesite|temperature site",
}
LOCAL_NAMES: dict[str, str] = {name: loinc for loinc, names in _LOCAL.items() for name in names.split("|")}
"""Folded local code or display (lower case, one space between words) -> LOINC."""

_MDC: dict[str, str] = {
    "8867-4": "MDC_ECG_HEART_RATE:147842 MDC_ECG_CARD_BEAT_RATE:147850 MDC_PULS_RATE:149514 "
    "MDC_PULS_RATE_NON_INV:149546 MDC_PULS_OXIM_PULS_RATE:149530",
    "59408-5": "MDC_PULS_OXIM_SAT_O2:150456",
    "8310-5": "MDC_TEMP:150344 MDC_TEMP_BODY:150364 MDC_TEMP_CORE:150368 MDC_TEMP_RECT:188420 MDC_TEMP_AXIL:188496",
    "8480-6": "MDC_PRESS_BLD_NONINV_SYS:150021 MDC_PRESS_CUFF_SYS:150301 MDC_PRESS_BLD_SYS:150017 "
    "MDC_PRESS_BLD_ART_SYS:150033 MDC_PRESS_BLD_ART_ABP_SYS:150037",
    "8462-4": "MDC_PRESS_BLD_NONINV_DIA:150022 MDC_PRESS_CUFF_DIA:150302 MDC_PRESS_BLD_DIA:150018 "
    "MDC_PRESS_BLD_ART_DIA:150034 MDC_PRESS_BLD_ART_ABP_DIA:150038",
    "8478-0": "MDC_PRESS_BLD_NONINV_MEAN:150023 MDC_PRESS_CUFF_MEAN:150303 MDC_PRESS_BLD_MEAN:150019 "
    "MDC_PRESS_BLD_ART_MEAN:150035 MDC_PRESS_BLD_ART_ABP_MEAN:150039",
    "9279-1": "MDC_RESP_RATE:151562 MDC_TTHOR_RESP_RATE:151578 MDC_CO2_RESP_RATE:151594",
    "19889-5": "MDC_AWAY_CO2_ET:151708",
    "3150-6": "MDC_CONC_AWAY_O2_INSP:152196",
    "29463-7": "MDC_MASS_BODY_ACTUAL:188736",
    "8302-2": "MDC_LEN_BODY_ACTUAL:188740",
}
MDC: dict[str, str] = {
    form: loinc for loinc, terms in _MDC.items() for term in terms.split() for form in term.split(":")
}
"""IEEE 11073-10101 reference id and numeric code -> LOINC."""

_SNOMED: dict[str, str] = {
    "364075005": "8867-4",
    "78564009": "8867-4",
    "431314004": "59408-5",
    "386725007": "8310-5",
    "271649006": "8480-6",
    "271650006": "8462-4",
    "6797001": "8478-0",
    "86290005": "9279-1",
    "27113001": "29463-7",
    "50373000": "8302-2",
    "248241002": "9269-2",
}

OTHER_SYSTEMS: dict[str, dict[str, str]] = {
    "http://snomed.info/sct": _SNOMED,
    "http://hl7.org/fhir/sid/icd-10": {},
    "http://hl7.org/fhir/sid/icd-10-cm": {},
    "http://hl7.org/fhir/sid/icd-9-cm": {},
    "http://hl7.org/fhir/sid/cvx": {},
    "http://hl7.org/fhir/sid/ndc": {},
    "http://www.nlm.nih.gov/research/umls/rxnorm": {},
    "http://www.ama-assn.org/go/cpt": {},
}
"""Systems whose codes are never taken for local names."""

SYSTEM_URIS: dict[str, str] = {
    **dict.fromkeys(("ln", "loinc", "2.16.840.1.113883.6.1", "http://loinc.org", "lnc"), "http://loinc.org"),
    **dict.fromkeys(
        ("sct", "snm", "snomed", "snomed-ct", "snomed ct", "2.16.840.1.113883.6.96"), "http://snomed.info/sct"
    ),
    **dict.fromkeys(("mdc", "11073", "2.16.840.1.113883.6.24"), "urn:iso:std:iso:11073:10101"),
    **dict.fromkeys(("i10", "icd10", "icd-10", "2.16.840.1.113883.6.3"), "http://hl7.org/fhir/sid/icd-10"),
    **dict.fromkeys(
        ("i10c", "i10cm", "icd-10-cm", "icd10cm", "2.16.840.1.113883.6.90"), "http://hl7.org/fhir/sid/icd-10-cm"
    ),
    **dict.fromkeys(
        ("i9", "i9c", "icd9", "icd-9", "icd-9-cm", "2.16.840.1.113883.6.103"), "http://hl7.org/fhir/sid/icd-9-cm"
    ),
    **dict.fromkeys(("cvx", "2.16.840.1.113883.12.292"), "http://hl7.org/fhir/sid/cvx"),
    **dict.fromkeys(("ndc", "2.16.840.1.113883.6.69"), "http://hl7.org/fhir/sid/ndc"),
    **dict.fromkeys(("rxnorm", "2.16.840.1.113883.6.88"), "http://www.nlm.nih.gov/research/umls/rxnorm"),
    **dict.fromkeys(("c4", "cpt4", "cpt", "2.16.840.1.113883.6.12"), "http://www.ama-assn.org/go/cpt"),
    **dict.fromkeys(("ucum", "2.16.840.1.113883.6.8"), "http://unitsofmeasure.org"),
    **dict.fromkeys(("dcm", "2.16.840.1.113883.6.6"), "http://dicom.nema.org/resources/ontology/DCM"),
}
"""HL7 table 0396 name or OID, lower case -> FHIR system URI (terminology.hl7.org)."""
