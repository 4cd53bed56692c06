// Language codes: two-letter codes and the labels of lid.176 to ISO 639-3, and single languages to macrolanguages.
//
// Documents are labelled with ISO 639-3; pages and identifiers speak BCP 47 and Wikipedia codes, and name
// macrolanguages (Arabic, Chinese) where a label names the single language (Standard Arabic, Mandarin).
//
// Does not: know names, scripts or regions.

/** ISO 639-1 to 639-3 (macrolanguages where 639-1 names one), and the labels of lid.176 that are not ISO 639-3. */
const table = new Map(
  `aa:aar ab:abk ae:ave af:afr ak:aka am:amh an:arg ar:ara as:asm av:ava ay:aym az:aze ba:bak be:bel bg:bul bh:bih
  bi:bis bm:bam bn:ben bo:bod br:bre bs:bos ca:cat ce:che ch:cha co:cos cr:cre cs:ces cu:chu cv:chv cy:cym da:dan
  de:deu dv:div dz:dzo ee:ewe el:ell en:eng eo:epo es:spa et:est eu:eus fa:fas ff:ful fi:fin fj:fij fo:fao fr:fra
  fy:fry ga:gle gd:gla gl:glg gn:grn gu:guj gv:glv ha:hau he:heb hi:hin ho:hmo hr:hrv ht:hat hu:hun hy:hye hz:her
  ia:ina id:ind ie:ile ig:ibo ii:iii ik:ipk io:ido is:isl it:ita iu:iku ja:jpn jv:jav ka:kat kg:kon ki:kik kj:kua
  kk:kaz kl:kal km:khm kn:kan ko:kor kr:kau ks:kas ku:kur kv:kom kw:cor ky:kir la:lat lb:ltz lg:lug li:lim ln:lin
  lo:lao lt:lit lu:lub lv:lav mg:mlg mh:mah mi:mri mk:mkd ml:mal mn:mon mr:mar ms:msa mt:mlt my:mya na:nau nb:nob
  nd:nde ne:nep ng:ndo nl:nld nn:nno no:nor nr:nbl nv:nav ny:nya oc:oci oj:oji om:orm or:ori os:oss pa:pan pi:pli
  pl:pol ps:pus pt:por qu:que rm:roh rn:run ro:ron ru:rus rw:kin sa:san sc:srd sd:snd se:sme sg:sag sh:hbs si:sin
  sk:slk sl:slv sm:smo sn:sna so:som sq:sqi sr:srp ss:ssw st:sot su:sun sv:swe sw:swa ta:tam te:tel tg:tgk th:tha
  ti:tir tk:tuk tl:tgl tn:tsn to:ton tr:tur ts:tso tt:tat tw:twi ty:tah ug:uig uk:ukr ur:urd uz:uzb ve:ven vi:vie
  vo:vol wa:wln wo:wol xh:xho yi:yid yo:yor za:zha zh:zho zu:zul`
    .split(/\s+/)
    .map((pair) => pair.split(':') as [string, string]),
);
/** Wikipedia's `als` is Alemannic, in ISO 639-3 `als` is Tosk Albanian. */
const wikipedia = new Map([['als', 'gsw']]);

/** Single languages by macrolanguage (SIL's ISO 639-3 macrolanguage table), those that corpora here contain. */
const macrolanguages = new Map(
  `aka:twi,fat ara:arb,arz,ary,acm,apc,ajp,acw,aeb aym:ayr,ayc aze:azj,azb bih:bho,mai,mag cre:cwd,crk,csw del:unm
  est:ekk,vro fas:pes,prs ful:fuf,fuc,fuv,ffm grn:gug hbs:bos,hrv,srp,cnr iku:ike,ikt kau:knc,kby kom:kpv,koi
  kon:kng,kwy,ldi kur:kmr,ckb,sdh lav:lvs,ltg mlg:plt,bhr mon:khk,mvf msa:zlm,zsm,ind,min nep:npi,dty
  nor:nob,nno oji:ojb,ojs,ciw ori:ory,spv orm:gaz,gax,hae pus:pbu,pbt,pst que:quz,quy,quh,qud,qug,qva,qvc,qvh,qvm,qvn,
  que:qwh,qxa,qxn,qxu,qxl srd:src,sro,sdn sqi:als,aln,aat swa:swh,swc uzb:uzn,uzs yid:ydd,yih zap:zab,zam,ztu
  zha:zyb,zgb,ccx zho:cmn,yue,wuu,hak,nan,gan,hsn zza:diq,kiu`
    .split(/\s+/)
    .flatMap((entry) => {
      const [macro, members] = entry.split(':') as [string, string];
      return members
        .split(',')
        .filter((member) => member !== '')
        .map((member): [string, string] => [member, macro]);
    }),
);

/** ISO 639-3 code of a BCP 47 tag or an ISO 639 code; `und` when it is none. */
export function languageOfTag(tag: string | undefined): string {
  const primary = (tag ?? '').trim().toLowerCase().split(/[-_]/)[0] ?? '';
  return table.get(primary) ?? (/^[a-z]{3}$/.test(primary) ? primary : 'und');
}

/** ISO 639-3 code of a label of lid.176 (codes of Wikipedias). */
export function languageOfWikipediaCode(code: string): string {
  return wikipedia.get(code) ?? languageOfTag(code);
}

/** The same language, or one the macrolanguage of the other. Two members of one macrolanguage differ. */
export function sameLanguage(a: string, b: string): boolean {
  return a === b || macrolanguages.get(a) === b || macrolanguages.get(b) === a;
}
