/** The states of a GFN: the letter, the colour and the hatch of each. Colour never stands alone. */

const FAMILIES = {
  NORMAL: ["N", "normal"], SECURE: ["S", "secure"], PAGED_OUT: ["P", "paged"], PAGEDOUT: ["P", "paged"],
  SHARED: ["H", "shared"], SHARED_INV: ["h", "shared invalid"],
  SHARED_IMPLICIT: ["I", "implicit"], SHARED_IMPLICIT_INV: ["i", "implicit invalid"],
  PSEUDO_SHARED: ["R", "pseudo"], PSEUDO_SHARED_INV: ["r", "pseudo invalid"],
  HV_SHARING: ["G", "changing"], HV_SHARED: ["D", "changing"], HV_SHARED_INV: ["d", "changing invalid"],
  HV_UNSHARING: ["U", "changing"], HV_UNSHARING_INV: ["u", "changing invalid"], HV_UNSHARED: ["V", "changing"],
};

/** The states in the order in which the map's endpoint numbers them; 255 is a GFN without a slot. */
export const HYPERVISOR_STATES = ["NORMAL", "SECURE", "PAGED_OUT", "SHARED"];
export const ULTRAVISOR_STATES = [
  "SECURE", "PAGEDOUT", "SHARED", "SHARED_INV", "SHARED_IMPLICIT", "SHARED_IMPLICIT_INV", "PSEUDO_SHARED",
  "PSEUDO_SHARED_INV", "HV_SHARING", "HV_SHARED", "HV_SHARED_INV", "HV_UNSHARING", "HV_UNSHARING_INV", "HV_UNSHARED",
];
export const JOINTS = ["agrees", "in flight", "differs"];

export const JOINT_SIGNS = { agrees: "=", "in flight": "…", differs: "≠" };

/** Return the letter of a state; a dash where a side knows nothing of the GFN. */
export const letterOf = (state) => FAMILIES[state]?.[0] ?? "–";

/** Return the CSS classes of a state's family. */
export const classOf = (state) => `state ${FAMILIES[state]?.[1] ?? "absent"}`;

/** Return the CSS class of a joint verdict on a GFN. */
export const jointClass = (joint) => `joint ${joint.replace(" ", "-")}`;

/** Return the names of all states with a letter of their own. */
export const stateNames = () => Object.keys(FAMILIES).filter((name) => name !== "PAGEDOUT");
